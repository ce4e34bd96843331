import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
from flax import nnx
from highway.config import ModelConfig
from highway.core import make_core
from common import deferred
from highway.fused import *
import itertools
def weights_of(core, cfg):
    if cfg.core=="rhn": return tuple(LayerWeights(l.kernel[...], l.bias[...]) for l in core.layers), HighwayRecurrence(cfg.coupled)
    return TransitionWeights(tuple(LayerWeights(k[...], b[...]) for k,b in zip(core.kernels, core.biases)), core.state_shortcut[...] if core.shortcut else None), TransitionRecurrence()
for kind, coupled, sep, drop, depth in itertools.product(["rhn","dt_rnn","dts_rnn"],[True,False],[True,False],[0.,.4],[1,3]):
    cfg=ModelConfig(core=kind, depth=depth, units=7, coupled=coupled, initial_range=.5)
    core=make_core(5,cfg,rngs=nnx.Rngs(0)); g,p=nnx.split(core); p=nnx.to_pure_dict(p)
    xs=jax.random.normal(jax.random.key(1),(6,4,5)); s0=jax.random.normal(jax.random.key(2),(4,7))
    masks=core.sample_masks(jax.random.key(3),4,drop,drop,separate=sep)
    w=jax.random.normal(jax.random.key(4),(6,4,7)); w2=jax.random.normal(jax.random.key(5),(4,7))
    def plain(p,s,xs):
        c=nnx.merge(g,p); l,o=c.unroll(s,xs,masks); return jnp.sum(o*w)+jnp.sum(l*w2)
    def fused(p,s,xs):
        c=nnx.merge(g,p); ws,rec=weights_of(c,cfg); l,o=deferred.unroll(rec,ws,s,c.project(xs,masks),masks.state); return jnp.sum(o*w)+jnp.sum(l*w2)
    a=jax.value_and_grad(plain,(0,1,2))(p,s0,xs); b=jax.value_and_grad(fused,(0,1,2))(p,s0,xs)
    err=max(jnp.max(jnp.abs(x-y)) for x,y in zip(jax.tree.leaves(a),jax.tree.leaves(b)))
    assert err<1e-12,(kind,coupled,sep,drop,depth,err)
print("ok",err)
