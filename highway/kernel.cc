// The recurrence of coupled recurrent highway layers on a CPU, forward and backward in time, as
// custom calls of XLA (Zilly et al. 2017, section 3, equations 6 to 9).
//
// Every thread owns some columns (units) of all layers, in both directions. It multiplies all rows
// of the batch by its panels of packed weights, applies the gates where a panel's product ends, and
// waits for the others once per layer. A sum over k always runs in the same order, so the bits don't
// depend on the number of threads.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

// ---------------------------------------------------------------------------------------- vectors

#if defined(__AVX512F__)
constexpr int W = 16;     // floats in a vector
constexpr int ROWS = 10;  // rows of the batch whose sums stay in registers
#elif defined(__AVX__)
constexpr int W = 8;
constexpr int ROWS = 5;
#else
constexpr int W = 4;
constexpr int ROWS = 4;
#endif

typedef float Vec __attribute__((vector_size(W * 4)));
typedef int32_t IntVec __attribute__((vector_size(W * 4)));

inline Vec splat(float x) { return x - Vec{}; }

inline Vec load(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, Vec v) { std::memcpy(to, &v, sizeof v); }

inline Vec load_some(const float* from, int count) {
  if (count >= W) return load(from);
  Vec v = {};
  std::memcpy(&v, from, count * sizeof(float));
  return v;
}

inline void store_some(float* to, Vec v, int count) {
  if (count >= W) return store(to, v);
  std::memcpy(to, &v, count * sizeof(float));
}

inline Vec select(IntVec condition, Vec yes, Vec no) { return condition ? yes : no; }

// e^x for |x| ≤ 87, by 2^n · e^r with |r| ≤ ln(2) / 2 and a polynomial for e^r; 1 ulp or so.
inline Vec exp_of(Vec x) {
  const Vec limit = splat(87.0f);
  x = select(x > limit, limit, x);
  x = select(x < -limit, -limit, x);
  const Vec shift = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
  Vec n = x * splat(1.44269504f) + shift;
  IntVec exponent;
  std::memcpy(&exponent, &n, sizeof n);
  n = n - shift;
  Vec r = x - n * splat(0.693145752f);
  r = r - n * splat(1.42860677e-6f);
  Vec p = splat(1.0f / 5040);
  p = p * r + splat(1.0f / 720);
  p = p * r + splat(1.0f / 120);
  p = p * r + splat(1.0f / 24);
  p = p * r + splat(1.0f / 6);
  p = p * r + splat(0.5f);
  p = p * r + splat(1.0f);
  p = p * r + splat(1.0f);
  IntVec bits;
  std::memcpy(&bits, &p, sizeof p);
  bits += exponent << 23;  // the low bits of n + shift are the integer
  std::memcpy(&p, &bits, sizeof p);
  return p;
}

inline Vec sigmoid(Vec x) { return splat(1.0f) / (splat(1.0f) + exp_of(-x)); }

inline Vec tanh_of(Vec x) {
  Vec far = splat(1.0f) - splat(2.0f) / (exp_of(x + x) + splat(1.0f));
  Vec y = x * x;  // near 0 the odd series, where `far` would lose its last digits
  Vec p = splat(-5.70498872745e-3f);
  p = p * y + splat(2.06390887954e-2f);
  p = p * y + splat(-5.37397155531e-2f);
  p = p * y + splat(1.33314422036e-1f);
  p = p * y + splat(-3.33332819422e-1f);
  Vec near = x + x * y * p;
  return select(y < splat(0.390625f), near, far);
}

// --------------------------------------------------------------------------------------- products

// What products read, in single precision: one k at a time.
struct Single {
  using Element = float;
  static constexpr int PER_STEP = 1;  // values of k that one step takes
  static Element narrow(float x) { return x; }
  static void store_vector(Element* to, Vec v) { store(to, v); }

  struct Broadcast {
    Vec value;
    explicit Broadcast(const Element* a) : value(splat(*a)) {}
  };
  static void add(Vec& sum, const Broadcast& a, const Element* b) { sum += a.value * load(b); }
};

#if defined(__AVX512BF16__)
// The same in bfloat16 with sums in single precision: two k at a time.
struct Half {
  using Element = uint16_t;
  static constexpr int PER_STEP = 2;
  static Element narrow(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
  }
  static void store_vector(Element* to, Vec v) {
    __m256bh narrowed = _mm512_cvtneps_pbh((__m512)v);
    std::memcpy(to, &narrowed, sizeof narrowed);
  }

  struct Broadcast {
    __m512bh value;
    explicit Broadcast(const Element* a) {
      int32_t pair;
      std::memcpy(&pair, a, sizeof pair);
      value = (__m512bh)_mm512_set1_epi32(pair);
    }
  };
  static void add(Vec& sum, const Broadcast& a, const Element* b) {
    sum = (Vec)_mm512_dpbf16_ps((__m512)sum, a.value, (__m512bh)_mm512_loadu_si512(b));
  }
};
#endif

// A packed panel holds, for every step over k, two vectors of columns side by side.
template <class P>
constexpr int STEP = 2 * W * P::PER_STEP;  // elements of a panel per step

// Sums of R rows of a by a panel: a is [R, k] with row length `stride`.
template <class P, int R>
inline void multiply(const typename P::Element* a, int stride, const typename P::Element* panel,
                     const typename P::Element* next, int steps, Vec (&sums)[ROWS][2]) {
  Vec s[R][2] = {};
  for (int k = 0; k < steps; ++k) {
    const typename P::Element* b = panel + k * STEP<P>;
    __builtin_prefetch(next + k * STEP<P>);
    if (STEP<P> * sizeof(typename P::Element) > 64) __builtin_prefetch(next + k * STEP<P> + STEP<P> / 2);
    for (int r = 0; r < R; ++r) {
      typename P::Broadcast x(a + r * stride + k * P::PER_STEP);
      P::add(s[r][0], x, b);
      P::add(s[r][1], x, b + W * P::PER_STEP);
    }
  }
  for (int r = 0; r < R; ++r) {
    sums[r][0] = s[r][0];
    sums[r][1] = s[r][1];
  }
}

template <class P, int R = ROWS>
inline void multiply_rows(int rows, const typename P::Element* a, int stride,
                          const typename P::Element* panel, const typename P::Element* next,
                          int steps, Vec (&sums)[ROWS][2]) {
  if constexpr (R == 1) {
    multiply<P, 1>(a, stride, panel, next, steps, sums);
  } else if (rows == R) {
    multiply<P, R>(a, stride, panel, next, steps, sums);
  } else {
    multiply_rows<P, R - 1>(rows, a, stride, panel, next, steps, sums);
  }
}

inline int round_up(int n, int to) { return (n + to - 1) / to * to; }

template <class T>
struct Aligned {  // memory on cache lines, zeroed
  explicit Aligned(size_t count) : size(count) {
    data = static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(64)));
    std::memset(static_cast<void*>(data), 0, count * sizeof(T));
  }
  ~Aligned() { ::operator delete(data, std::align_val_t(64)); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  T* data;
  size_t size;
};

// ---------------------------------------------------------------------------------------- threads

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits until all members have come; spins, since layers are short.
class Barrier {
 public:
  explicit Barrier(int members) : members_(members) {}
  void wait() {
    const int round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members_) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
      relax();
      if (spins > 20000) std::this_thread::yield();  // somebody else has that core
    }
  }

 private:
  const int members_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> round_{0};
};

// Helper threads that live as long as the process: joining them at its exit could wait for ever.
class Team {
 public:
  // Runs work(member) for all members of a team, the caller being member 0. Whoever comes while the
  // helpers are busy does all by itself.
  static void run(int members, const std::function<void(int, Barrier&)>& work) {
    static Team* team = new Team;
    std::unique_lock<std::mutex> busy(team->busy_, std::try_to_lock);
    if (members <= 1 || !busy.owns_lock()) {
      Barrier alone(1);
      work(0, alone);
      return;
    }
    team->lead(members, work);
  }

 private:
  void lead(int members, const std::function<void(int, Barrier&)>& work) {
    while (static_cast<int>(helpers_) < members - 1) {
      std::thread(&Team::help, this, ++helpers_).detach();
    }
    Barrier barrier(members);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work;
      barrier_ = &barrier;
      members_ = members;
      left_ = members - 1;
      ++job_;
    }
    wake_.notify_all();
    work(0, barrier);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return left_ == 0; });
  }

  void help(int member) {
    uint64_t seen = 0;
    for (;;) {
      const std::function<void(int, Barrier&)>* work;
      Barrier* barrier;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return job_ != seen && member < members_; });
        seen = job_;
        work = work_;
        barrier = barrier_;
      }
      (*work)(member, *barrier);
      {
        std::lock_guard<std::mutex> lock(mutex_);
        --left_;
      }
      done_.notify_one();
    }
  }

  std::mutex busy_;  // held by the caller that leads
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int, Barrier&)>* work_ = nullptr;
  Barrier* barrier_ = nullptr;
  int members_ = 0, left_ = 0, helpers_ = 0;
  uint64_t job_ = 0;
};

struct Share {  // the panels of one member
  Share(int panels, int member, int members)
      : begin(panels * member / members), end(panels * (member + 1) / members) {}
  int begin, end;
};

// ----------------------------------------------------------------------------------------- layers

struct Sizes {
  int time, batch, units, layers;
  size_t state() const { return static_cast<size_t>(batch) * units; }
};

// Kernel [units, 2, units] → panels of W units: for every step over k, W of H and W of T.
template <class P>
void pack_forward(const float* kernel, int units, int panel, typename P::Element* to) {
  const int steps = round_up(units, P::PER_STEP) / P::PER_STEP;
  const int first = panel * W, count = std::min(W, units - first);
  for (int step = 0; step < steps; ++step) {
    for (int half = 0; half < P::PER_STEP; ++half) {
      const int k = step * P::PER_STEP + half;
      for (int gate = 0; gate < 2; ++gate) {
        typename P::Element* row = to + step * STEP<P> + gate * W * P::PER_STEP + half;
        for (int j = 0; j < W; ++j) {
          const bool inside = k < units && j < count;
          row[j * P::PER_STEP] =
              P::narrow(inside ? kernel[(size_t(k) * 2 + gate) * units + first + j] : 0.0f);
        }
      }
    }
  }
}

// The transposed kernel → panels of 2 W units: for every step over (gate, k), 2 W columns.
template <class P>
void pack_backward(const float* kernel, int units, int panel, typename P::Element* to) {
  const int padded = round_up(units, P::PER_STEP);
  const int first = panel * 2 * W, count = std::min(2 * W, units - first);
  for (int j = 0; j < 2 * W; ++j) {
    const float* row = kernel + size_t(first + j) * 2 * units;
    for (int gate = 0; gate < 2; ++gate) {
      for (int k = 0; k < padded; ++k) {
        const int at = gate * padded + k, step = at / P::PER_STEP, half = at % P::PER_STEP;
        const bool inside = j < count && k < units;
        to[size_t(step) * STEP<P> + j * P::PER_STEP + half] =
            P::narrow(inside ? row[gate * units + k] : 0.0f);
      }
    }
  }
}

struct ForwardArrays {
  const float* projected;  // [time, batch, 2, units]
  const float* state;      // [batch, units]
  const float* mask;       // [batch, units]
  std::vector<const float*> kernels, biases;
  float* last;       // [batch, units]
  float* outputs;    // [time, batch, units]
  float* states;     // [layers, time, batch, units]: what entered each layer; none of these in
  float* proposals;  //   evaluation
  float* transforms;
};

template <class P>
void run_forward(const Sizes& z, const ForwardArrays& a, int threads) {
  using Element = typename P::Element;
  const int n = z.units, panels = round_up(n, W) / W;
  const int steps = round_up(n, P::PER_STEP) / P::PER_STEP;
  const int stride = panels * W;  // of a row that products read
  const size_t panel_size = size_t(steps) * STEP<P>, layer_size = panel_size * panels;
  // One more panel than there is, so that the last one's prefetch stays inside.
  Aligned<Element> weights(layer_size * z.layers + panel_size);
  Aligned<Element> inputs(2 * size_t(z.batch) * stride);
  Aligned<float> state(size_t(z.batch) * stride);

  Team::run(std::min(threads, panels), [&](int member, Barrier& barrier) {
    const int members = std::min(threads, panels);
    // Alone, where the helpers are busy: then all panels are this thread's.
    const bool alone = barrier_is_alone(barrier);
    const Share mine(panels, alone ? 0 : member, alone ? 1 : members);
    for (int l = 0; l < z.layers; ++l)
      for (int p = mine.begin; p < mine.end; ++p)
        pack_forward<P>(a.kernels[l], n, p, weights.data + l * layer_size + p * panel_size);
    for (int p = mine.begin; p < mine.end; ++p) {
      const int at = p * W, count = std::min(W, n - at);
      for (int b = 0; b < z.batch; ++b) {
        const Vec s = load_some(a.state + size_t(b) * n + at, count);
        const Vec m = load_some(a.mask + size_t(b) * n + at, count);
        store(state.data + size_t(b) * stride + at, s);
        P::store_vector(inputs.data + size_t(b) * stride + at, s * m);
      }
    }
    barrier.wait();
    int turn = 0;
    for (int t = 0; t < z.time; ++t) {
      for (int l = 0; l < z.layers; ++l, turn ^= 1) {
        const Element* x = inputs.data + size_t(turn) * z.batch * stride;
        Element* y = inputs.data + size_t(turn ^ 1) * z.batch * stride;
        const size_t saved = (size_t(l) * z.time + t) * z.state();
        for (int p = mine.begin; p < mine.end; ++p) {
          const int at = p * W, count = std::min(W, n - at);
          const Element* panel = weights.data + l * layer_size + p * panel_size;
          const Vec bias_h = load_some(a.biases[l] + at, count);
          const Vec bias_t = load_some(a.biases[l] + n + at, count);
          for (int b = 0; b < z.batch; b += ROWS) {
            const int rows = std::min(ROWS, z.batch - b);
            Vec sums[ROWS][2];
            multiply_rows<P>(rows, x + size_t(b) * stride, stride, panel, panel + panel_size, steps,
                             sums);
            for (int r = 0; r < rows; ++r) {
              const size_t row = b + r, place = row * n + at;
              Vec zh = sums[r][0] + bias_h, zt = sums[r][1] + bias_t;
              if (l == 0) {
                const float* u = a.projected + (size_t(t) * z.batch + row) * 2 * n + at;
                zh += load_some(u, count);
                zt += load_some(u + n, count);
              }
              const Vec h = tanh_of(zh), g = sigmoid(zt);
              float* own = state.data + row * stride + at;
              const Vec s = load(own);
              const Vec after = s + g * (h - s);
              store(own, after);
              if (a.states) {
                store_some(a.states + saved + place, s, count);
                store_some(a.proposals + saved + place, h, count);
                store_some(a.transforms + saved + place, g, count);
              }
              const Vec m = load_some(a.mask + place, count);
              P::store_vector(y + row * stride + at, after * m);
              if (l + 1 == z.layers) {
                store_some(a.outputs + size_t(t) * z.state() + place, after, count);
                if (t + 1 == z.time) store_some(a.last + place, after, count);
              }
            }
          }
        }
        barrier.wait();
      }
    }
  });
}

}  // namespace
