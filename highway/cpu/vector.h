// Vectors of floats as wide as the processor's, and the functions of gates on them.
//
// Written with the vector extension of GCC and Clang: one text for every processor.

#ifndef HIGHWAY_CPU_VECTOR_H_
#define HIGHWAY_CPU_VECTOR_H_

#include <cstdint>
#include <cstring>
#include <utility>

namespace highway {

#if defined(__AVX512F__)
constexpr int W = 16;  // floats in a vector
#elif defined(__AVX__)
constexpr int W = 8;
#else
constexpr int W = 4;
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

// The first `count` values, zeros behind them.
inline Vec load_some(const float* from, int count) {
  if (count >= W) return load(from);
  Vec v = {};
  if (count > 0) std::memcpy(&v, from, count * sizeof(float));
  return v;
}

inline void store_some(float* to, Vec v, int count) {
  if (count >= W) return store(to, v);
  if (count > 0) std::memcpy(to, &v, count * sizeof(float));
}

inline IntVec bits_of(Vec v) {
  IntVec bits;
  std::memcpy(&bits, &v, sizeof v);
  return bits;
}

inline Vec from_bits(IntVec bits) {
  Vec v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

inline Vec select(IntVec condition, Vec yes, Vec no) { return condition ? yes : no; }

// e^x for |x| ≤ 87 (beyond, that of ±87): 2^n · e^r with |r| ≤ ln(2) / 2, and e^r by its series.
inline Vec exp_of(Vec x) {
  const Vec limit = splat(87.0f);
  x = select(x > limit, limit, x);
  x = select(x < -limit, -limit, x);
  const Vec shift = splat(0x1.8p23f);  // adding it leaves an integer in the lowest bits
  Vec n = x * splat(0x1.715476p0f) + shift;
  const IntVec exponent = bits_of(n);
  n = n - shift;
  // ln(2) in two parts, the first so short that its products with n are exact.
  const Vec r = (x - n * splat(0x1.62e4p-1f)) - n * splat(0x1.7f7d1cp-20f);
  Vec p = splat(1.0f / 5040);
  p = p * r + splat(1.0f / 720);
  p = p * r + splat(1.0f / 120);
  p = p * r + splat(1.0f / 24);
  p = p * r + splat(1.0f / 6);
  p = p * r + splat(0.5f);
  p = p * r + splat(1.0f);
  p = p * r + splat(1.0f);
  return from_bits(bits_of(p) + (exponent << 23));
}

inline Vec sigmoid(Vec x) { return splat(1.0f) / (splat(1.0f) + exp_of(-x)); }

// (tanh(x) / x − 1) / x² by powers of x², fitted to |x| ≤ 0.6 for the least greatest error.
constexpr float TANH[] = {-0.3333329922f, 0.1333195666f, -0.0537865472f, 0.0208049354f,
                          -0.0059053632f};

inline Vec tanh_of(Vec x) {
  const Vec far = splat(1.0f) - splat(2.0f) / (exp_of(x + x) + splat(1.0f));
  const Vec y = x * x;  // near 0 the polynomial: `far` loses its last digits there
  Vec p = splat(TANH[4]);
  for (int i = 3; i >= 0; --i) p = p * y + splat(TANH[i]);
  const Vec near = x + x * y * p;
  return select(y < splat(0.36f), near, far);
}

// Where lane i of a row of a transposition comes from: lanes of `a`, then those of `b`. At distance D
// the row of `a` takes lanes that the row of `b` gives up.
constexpr int source(int i, int D, bool of_a) {
  if (i & D) return of_a ? W + i - D : W + i;
  return of_a ? i : i + D;
}

template <int D, bool OF_A, int... I>
inline IntVec exchange(IntVec a, IntVec b, std::integer_sequence<int, I...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, source(I, D, OF_A)...);
#else
  return __builtin_shuffle(a, b, IntVec{source(I, D, OF_A)...});
#endif
}

// Transposes W × W values in place: at distance D, blocks off the diagonal change places.
template <int D = W / 2>
inline void transpose(IntVec (&rows)[W]) {
  constexpr auto lanes = std::make_integer_sequence<int, W>();
  for (int i = 0; i < W; ++i) {
    if (i & D) continue;
    const IntVec a = rows[i], b = rows[i + D];
    rows[i] = exchange<D, true>(a, b, lanes);
    rows[i + D] = exchange<D, false>(a, b, lanes);
  }
  if constexpr (D > 1) transpose<D / 2>(rows);
}

}  // namespace highway

#endif  // HIGHWAY_CPU_VECTOR_H_
