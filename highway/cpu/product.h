// Products of a batch by weights that are packed into panels.
//
// All numbers that products read lie in lanes of 32 bits: one float, or two bfloat16 that belong to
// neighbouring k. A step takes one lane of every row and V vectors of the panel.

#ifndef HIGHWAY_CPU_PRODUCT_H_
#define HIGHWAY_CPU_PRODUCT_H_

#include <algorithm>
#include <cstddef>

#include "vector.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace highway {

using Lane = int32_t;

inline IntVec load_lanes(const Lane* from) {
  IntVec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store_lanes(Lane* to, IntVec v) { std::memcpy(to, &v, sizeof v); }

// Numbers as they are.
struct Single {
  static constexpr int PER_LANE = 1;
  // Lane i holds values[0][i], values[1][i], ...
  static IntVec lanes(const Vec (&values)[PER_LANE]) { return bits_of(values[0]); }
  // Lanes of the first `count` values in memory, zeros behind them.
  static IntVec lanes_at(const float* from, int count) { return bits_of(load_some(from, count)); }
  static void store_values(Lane* to, Vec v) { store_lanes(to, bits_of(v)); }
  static Vec add(Vec sum, IntVec a, IntVec b) { return sum + from_bits(a) * from_bits(b); }
};

#if defined(__AVX512BF16__)
// Numbers in bfloat16, sums in single precision.
struct Narrow {
  static constexpr int PER_LANE = 2;
  static IntVec lanes(const Vec (&values)[PER_LANE]) {
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)values[0]));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)values[1]));
    return (IntVec)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  }
  static IntVec lanes_at(const float* from, int count) {
    const Vec low = load_some(from, count), high = load_some(from + W, count - W);
    return (IntVec)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
  }
  static void store_values(Lane* to, Vec v) {
    const __m256bh narrowed = _mm512_cvtneps_pbh((__m512)v);
    std::memcpy(to, &narrowed, sizeof narrowed);
  }
  static Vec add(Vec sum, IntVec a, IntVec b) {
    return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }
};
#else
// The same where the processor has no products of bfloat16: floats rounded to its precision.
struct Narrow {
  static constexpr int PER_LANE = 1;
  static IntVec rounded(Vec v) {
    const IntVec bits = bits_of(v);
    return (bits + 0x7FFF + ((bits >> 16) & 1)) & ~0xFFFF;
  }
  static IntVec lanes(const Vec (&values)[PER_LANE]) { return rounded(values[0]); }
  static IntVec lanes_at(const float* from, int count) { return rounded(load_some(from, count)); }
  static void store_values(Lane* to, Vec v) { store_lanes(to, rounded(v)); }
  static Vec add(Vec sum, IntVec a, IntVec b) { return Single::add(sum, a, b); }
};
#endif

// Rows of a batch whose sums of V vectors each stay in registers.
constexpr int rows_at_once(int v) {
  if (W == 16) return v == 2 ? 10 : 8;
  return v == 2 ? 5 : W == 8 ? 4 : 3;
}

inline int round_up(int n, int to) { return (n + to - 1) / to * to; }

// Steps that a sum over n values takes.
template <class P>
inline int steps_of(int n) {
  return round_up(n, P::PER_LANE) / P::PER_LANE;
}

// Where rows of lanes begin: `stride` lanes apart, `gate` lanes between what two gates read.
struct Rows {
  const Lane* first;
  ptrdiff_t stride, gate;
  Rows from(int row) const { return {first + row * stride, stride, gate}; }
};

// Sums of R rows by a panel, V vectors each; the next panel is fetched meanwhile. With SEPARATE,
// vector v reads the rows of gate v, otherwise all read the same.
template <class P, int R, int V, bool SEPARATE, int MOST>
inline void multiply(Rows x, const Lane* panel, const Lane* next, int steps, Vec (&sums)[MOST][V]) {
  Vec s[R][V] = {};
  for (int k = 0; k < steps; ++k) {
    IntVec b[V];
    for (int v = 0; v < V; ++v) {
      b[v] = load_lanes(panel + (size_t(k) * V + v) * W);
      __builtin_prefetch(next + (size_t(k) * V + v) * W, 0, 2);  // into the second cache
    }
    for (int r = 0; r < R; ++r) {
      const Lane* row = x.first + r * x.stride + k;
      for (int v = 0; v < V; ++v) {
        const IntVec a = row[SEPARATE ? v * x.gate : 0] - IntVec{};
        s[r][v] = P::add(s[r][v], a, b[v]);
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sums[r][v] = s[r][v];
}

// The same for a number of rows that is known only now.
template <class P, int V, bool SEPARATE, int MOST, int R = MOST>
inline void multiply_rows(int rows, Rows x, const Lane* panel, const Lane* next, int steps,
                          Vec (&sums)[MOST][V]) {
  if constexpr (R > 1) {
    if (rows < R)
      return multiply_rows<P, V, SEPARATE, MOST, R - 1>(rows, x, panel, next, steps, sums);
  }
  multiply<P, R, V, SEPARATE>(x, panel, next, steps, sums);
}

// Kernel [units, GATES, units] → W columns of all gates: for every k a vector of each.
template <class P, int GATES>
void pack_columns(const float* kernel, int units, int first, Lane* to) {
  const int count = std::min(W, units - first);
  for (int step = 0; step < steps_of<P>(units); ++step) {
    for (int gate = 0; gate < GATES; ++gate) {
      Vec values[P::PER_LANE] = {};
      for (int i = 0; i < P::PER_LANE; ++i) {
        const size_t k = size_t(step) * P::PER_LANE + i;
        if (k >= size_t(units)) break;
        values[i] = load_some(kernel + (k * GATES + gate) * units + first, count);
      }
      store_lanes(to, P::lanes(values));
      to += W;
    }
  }
}

// The same kernel → 2 W rows of it as columns: for every gate and k two vectors.
template <class P, int GATES>
void pack_rows(const float* kernel, int units, int first, Lane* to) {
  const int steps = steps_of<P>(units);
  for (int gate = 0; gate < GATES; ++gate, to += size_t(steps) * 2 * W) {
    for (int half = 0; half < 2; ++half) {
      for (int step = 0; step < steps; step += W) {
        const int k = step * P::PER_LANE;
        IntVec block[W] = {};
        for (int j = 0; j < W && first + half * W + j < units; ++j) {
          const size_t row = first + half * W + j;
          block[j] = P::lanes_at(kernel + (row * GATES + gate) * units + k, units - k);
        }
        transpose(block);
        for (int i = 0; i < std::min(W, steps - step); ++i)
          store_lanes(to + (size_t(step + i) * 2 + half) * W, block[i]);
      }
    }
  }
}

}  // namespace highway

#endif  // HIGHWAY_CPU_PRODUCT_H_
