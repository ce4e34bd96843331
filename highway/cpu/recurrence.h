// The highway layers of all time steps, forward and backward (Zilly et al. 2017, section 4,
// equations 6 to 9).
//
// A turn is one layer of one time step, an item of it some columns (units) for all rows of the
// batch: their share of the product, and the gates where it ends. What a turn's products read was
// written in the turn before; two buffers take turns. A sum always runs in the same order, whoever
// computes it, so the bits don't depend on the threads.

#ifndef HIGHWAY_CPU_RECURRENCE_H_
#define HIGHWAY_CPU_RECURRENCE_H_

#include <vector>

#include "memory.h"
#include "product.h"
#include "team.h"

namespace highway {

struct Sizes {
  int time, batch, units, layers;
  size_t state() const { return size_t(batch) * units; }
};

// Masks [1 or gates, batch, units] of what enters the products.
struct Mask {
  const float* values;
  bool separate;
  const float* row(const Sizes& z, int gate, int row) const {
    return values + ((separate ? gate : 0) * size_t(z.batch) + row) * z.units;
  }
};

struct ForwardArrays {
  const float* projected;              // [time, batch, gates, units]
  const float* state;                  // [batch, units]
  Mask mask;
  std::vector<const float*> kernels;   // per layer [units, gates, units]
  std::vector<const float*> biases;    // per layer [gates, units]
  float* last;                         // [batch, units]
  float* outputs;                      // [time, batch, units]
  // Per layer what entered, then the gates (but a coupled carry), [time, batch, units] each; empty
  // where nobody asks for gradients.
  std::vector<float*> saved;
};

template <class P, int GATES, bool SEPARATE>
class Forward {
 public:
  static void run(const Sizes& z, const ForwardArrays& a, int threads) {
    const int panels = round_up(z.units, W) / W;
    const size_t stride = size_t(panels) * W / P::PER_LANE * (SEPARATE ? GATES : 1);
    const size_t weights = size_t(panels) * z.layers * steps_of<P>(z.units) * GATES * W;
    const size_t inputs = 2 * z.batch * stride, state = size_t(z.batch) * panels * W;
    Scratch scratch(Scratch::bytes<Lane>(weights) + Scratch::bytes<Lane>(inputs) +
                    Scratch::bytes<float>(state));
    Forward pass(z, a, panels);
    pass.weights_ = scratch.take<Lane>(weights);
    pass.inputs_ = scratch.take<Lane>(inputs);
    pass.state_ = scratch.take<float>(state);
    Team::run(threads, 1 + z.time * z.layers, panels, [&](int turn, int panel) {
      turn == 0 ? pass.begin(panel) : pass.advance(turn - 1, panel);
    });
  }

 private:
  static constexpr int ROWS = rows_at_once(GATES);

  struct Place {  // of a panel's work in a turn
    int t, l, at, count;
    Lane* next;                // what the next turn reads
    const Vec (&bias)[GATES];
  };

  Forward(const Sizes& z, const ForwardArrays& a, int panels)
      : z_(z),
        a_(a),
        panels_(panels),
        gate_(ptrdiff_t(panels) * W / P::PER_LANE),
        stride_(gate_ * (SEPARATE ? GATES : 1)),
        panel_(size_t(steps_of<P>(z.units)) * GATES * W) {}

  Lane* input(int turn) const { return inputs_ + (turn & 1) * z_.batch * stride_; }

  Lane* panel(int layer, int index) const {
    return weights_ + (size_t(layer) * panels_ + index) * panel_;
  }

  void begin(int index) {
    const int at = index * W, count = std::min(W, z_.units - at);
    for (int l = 0; l < z_.layers; ++l)
      pack_columns<P, GATES>(a_.kernels[l], z_.units, at, panel(l, index));
    for (int row = 0; row < z_.batch; ++row) {
      const Vec s = load_some(a_.state + size_t(row) * z_.units + at, count);
      store(state_ + row * size_t(panels_) * W + at, s);
      feed(input(0), row, at, count, s);
    }
  }

  // Stores what the next turn's products read of a state.
  void feed(Lane* to, int row, int at, int count, Vec s) const {
    for (int gate = 0; gate < (SEPARATE ? GATES : 1); ++gate) {
      const Vec mask = load_some(a_.mask.row(z_, gate, row) + at, count);
      P::store_values(to + row * stride_ + gate * gate_ + at / P::PER_LANE, s * mask);
    }
  }

  void advance(int turn, int index) {
    const int t = turn / z_.layers, l = turn % z_.layers;
    const int at = index * W, count = std::min(W, z_.units - at);
    Vec bias[GATES];
    for (int gate = 0; gate < GATES; ++gate)
      bias[gate] = load_some(a_.biases[l] + size_t(gate) * z_.units + at, count);
    const Place place{t, l, at, count, input(turn + 1), bias};
    const Rows x{input(turn), stride_, gate_};
    const Lane* weights = panel(l, index);
    const bool more = index + 1 < panels_ || l + 1 < z_.layers;
    for (int first = 0; first < z_.batch; first += ROWS) {
      const int rows = std::min(ROWS, z_.batch - first);
      Vec sums[ROWS][GATES];
      multiply_rows<P, GATES, SEPARATE, ROWS>(rows, x.from(first), weights,
                                              more ? weights + panel_ : weights_,
                                              steps_of<P>(z_.units), sums);
      for (int r = 0; r < rows; ++r) finish(place, first + r, sums[r]);
    }
  }

  // The gates of one row, and its new state.
  void finish(const Place& p, int row, const Vec (&sums)[GATES]) const {
    Vec z[GATES];
    for (int gate = 0; gate < GATES; ++gate) {
      z[gate] = sums[gate] + p.bias[gate];
      if (p.l == 0) {
        const size_t from = ((size_t(p.t) * z_.batch + row) * GATES + gate) * z_.units + p.at;
        z[gate] += load_some(a_.projected + from, p.count);
      }
    }
    float* state = state_ + row * size_t(panels_) * W + p.at;
    Vec gates[GATES] = {tanh_of(z[0]), sigmoid(z[1])};
    const Vec s = load(state);
    Vec after;
    if constexpr (GATES == 3) {
      gates[2] = sigmoid(z[2]);
      after = gates[0] * gates[1] + s * gates[2];
    } else {
      after = gates[0] * gates[1] + s * (splat(1.0f) - gates[1]);
    }
    store(state, after);
    feed(p.next, row, p.at, p.count, after);
    const size_t in_state = size_t(row) * z_.units + p.at, to = p.t * z_.state() + in_state;
    if (!a_.saved.empty()) {
      float* const* saved = &a_.saved[size_t(p.l) * (1 + GATES)];
      store_some(saved[0] + to, s, p.count);
      for (int gate = 0; gate < GATES; ++gate)
        store_some(saved[1 + gate] + to, gates[gate], p.count);
    }
    if (p.l + 1 < z_.layers) return;
    store_some(a_.outputs + to, after, p.count);
    if (p.t + 1 == z_.time) store_some(a_.last + in_state, after, p.count);
  }

  const Sizes& z_;
  const ForwardArrays& a_;
  const int panels_;
  const ptrdiff_t gate_, stride_;  // lanes between gates and between rows of the inputs
  const size_t panel_;             // lanes of a panel
  Lane* weights_ = nullptr;        // [layers, panels], packed
  Lane* inputs_ = nullptr;         // [2, batch, stride]
  float* state_ = nullptr;         // [batch, panels · W]
};

struct BackwardArrays {
  Mask mask;
  std::vector<const float*> kernels;  // as for the forward pass
  std::vector<const float*> saved;
  const float* last_bar;     // [batch, units]
  const float* output_bars;  // [time, batch, units]
  float* state_bar;          // [batch, units]
  std::vector<float*> errors;  // per layer, of its products' results: [time, batch, gates, units]
};

template <class P, int GATES>
class Backward {
 public:
  static void run(const Sizes& z, const BackwardArrays& a, int threads) {
    const int panels = round_up(z.units, 2 * W) / (2 * W);
    const size_t gate = size_t(panels) * 2 * W / P::PER_LANE;
    const size_t weights = size_t(panels) * z.layers * steps_of<P>(z.units) * GATES * 2 * W;
    const size_t inputs = 2 * z.batch * gate * GATES, bar = size_t(z.batch) * panels * 2 * W;
    Scratch scratch(Scratch::bytes<Lane>(weights) + Scratch::bytes<Lane>(inputs) +
                    Scratch::bytes<float>(bar));
    Backward pass(z, a, panels);
    pass.weights_ = scratch.take<Lane>(weights);
    pass.inputs_ = scratch.take<Lane>(inputs);
    pass.carried_ = scratch.take<float>(bar);
    Team::run(threads, 1 + z.time * z.layers, panels, [&](int turn, int panel) {
      turn == 0 ? pass.begin(panel) : pass.advance(turn - 1, panel);
    });
  }

 private:
  static constexpr int ROWS = rows_at_once(2);

  Backward(const Sizes& z, const BackwardArrays& a, int panels)
      : z_(z),
        a_(a),
        panels_(panels),
        gate_(ptrdiff_t(panels) * 2 * W / P::PER_LANE),
        stride_(gate_ * GATES),
        panel_(size_t(steps_of<P>(z.units)) * GATES * 2 * W) {}

  Lane* input(int turn) const { return inputs_ + (turn & 1) * z_.batch * stride_; }

  Lane* panel(int layer, int index) const {
    return weights_ + (size_t(layer) * panels_ + index) * panel_;
  }

  void begin(int index) {
    for (int l = 0; l < z_.layers; ++l)
      pack_rows<P, GATES>(a_.kernels[l], z_.units, index * 2 * W, panel(l, index));
    for (int row = 0; row < z_.batch; ++row) {
      for (int half = 0; half < 2; ++half) {
        const int at = (index * 2 + half) * W, count = z_.units - at;
        const Vec bar = load_some(a_.last_bar + size_t(row) * z_.units + at, count);
        differentiate(0, row, at, count, bar);
      }
    }
  }

  // From a layer's errors, of turn `turn`, to those of the layer below, or of the time step before.
  void advance(int turn, int index) {
    const int steps = steps_of<P>(z_.units), l = z_.layers - 1 - turn % z_.layers;
    const Rows x{input(turn), stride_, 0};
    const Lane* weights = panel(l, index);
    const int below = (l > 0 ? l : z_.layers) - 1;
    const Lane* next = index + 1 < panels_ ? weights + panel_ : panel(below, 0);
    for (int first = 0; first < z_.batch; first += ROWS) {
      const int rows = std::min(ROWS, z_.batch - first);
      Vec sums[GATES][ROWS][2];
      for (int gate = 0; gate < GATES; ++gate) {
        const Rows errors{x.first + gate * gate_, stride_, 0};
        const size_t skip = size_t(gate) * steps * 2 * W;
        multiply_rows<P, 2, false, ROWS>(rows, errors.from(first), weights + skip, next + skip,
                                         steps, sums[gate]);
      }
      for (int r = 0; r < rows; ++r) {
        for (int half = 0; half < 2; ++half) {
          const int at = (index * 2 + half) * W, count = z_.units - at, row = first + r;
          Vec bar = load(carried_ + row * size_t(panels_) * 2 * W + at);
          for (int gate = 0; gate < GATES; ++gate)
            bar += sums[gate][r][half] * load_some(a_.mask.row(z_, gate, row) + at, count);
          differentiate(turn + 1, row, at, count, bar);
        }
      }
    }
  }

  // Errors of turn `turn` in one row, from the gradient of what left its layer.
  void differentiate(int turn, int row, int at, int count, Vec bar) const {
    const int t = z_.time - 1 - turn / z_.layers, l = z_.layers - 1 - turn % z_.layers;
    if (t < 0) return store_some(a_.state_bar + size_t(row) * z_.units + at, bar, count);
    const size_t from = t * z_.state() + size_t(row) * z_.units + at;
    if (l + 1 == z_.layers) bar += load_some(a_.output_bars + from, count);
    const float* const* saved = &a_.saved[size_t(l) * (1 + GATES)];
    const Vec one = splat(1.0f), s = load_some(saved[0] + from, count);
    const Vec h = load_some(saved[1] + from, count), g = load_some(saved[2] + from, count);
    Vec errors[GATES], carry;
    if constexpr (GATES == 3) {
      carry = load_some(saved[3] + from, count);
      errors[1] = bar * h * g * (one - g);
      errors[2] = bar * s * carry * (one - carry);
    } else {
      carry = one - g;
      errors[1] = bar * (h - s) * g * carry;
    }
    errors[0] = bar * g * (one - h * h);
    store(carried_ + row * size_t(panels_) * 2 * W + at, bar * carry);
    Lane* next = input(turn) + row * stride_ + at / P::PER_LANE;
    float* out = a_.errors[l] + (size_t(t) * z_.batch + row) * GATES * z_.units + at;
    for (int gate = 0; gate < GATES; ++gate) {
      P::store_values(next + gate * gate_, errors[gate]);
      store_some(out + size_t(gate) * z_.units, errors[gate], count);
    }
  }

  const Sizes& z_;
  const BackwardArrays& a_;
  const int panels_;
  const ptrdiff_t gate_, stride_;  // lanes between gates and between rows of the inputs
  const size_t panel_;             // lanes of a panel
  Lane* weights_ = nullptr;        // [layers, panels], packed
  Lane* inputs_ = nullptr;         // [2, batch, stride]
  float* carried_ = nullptr;       // [batch, panels · 2 W]: what passes a layer by
};

// Chooses among what is compiled. GATES is 2 where the carry gate is 1 − transform.
template <class P>
void run_forward(const Sizes& z, const ForwardArrays& a, int gates, int threads) {
  const bool separate = a.mask.separate;
  if (gates == 2 && !separate) return Forward<P, 2, false>::run(z, a, threads);
  if (gates == 2) return Forward<P, 2, true>::run(z, a, threads);
  if (!separate) return Forward<P, 3, false>::run(z, a, threads);
  return Forward<P, 3, true>::run(z, a, threads);
}

template <class P>
void run_backward(const Sizes& z, const BackwardArrays& a, int gates, int threads) {
  if (gates == 2) return Backward<P, 2>::run(z, a, threads);
  return Backward<P, 3>::run(z, a, threads);
}

}  // namespace highway

#endif  // HIGHWAY_CPU_RECURRENCE_H_
