// Runs the kernel without XLA, for sanitizers: against plain loops, by many threads, by callers at
// the same time, after a fork. Prints what is wrong and fails.

#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <random>
#include <thread>

#include "recurrence.h"

using namespace highway;

namespace {

struct Case {
  Sizes z;
  int gates;
  bool separate;
};

std::vector<float> random_values(size_t count, float range, std::mt19937& source) {
  std::uniform_real_distribution<float> uniform(-range, range);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(source);
  return values;
}

// The arrays of a case, each of exactly its size, so that a step beside it is noticed.
struct Problem {
  explicit Problem(const Case& c) : c(c), source(c.z.units * 131 + c.z.batch) {
    const Sizes& z = c.z;
    const size_t steps = z.time * z.state();
    const float range = 1.0f / std::sqrt(float(z.units));
    for (int l = 0; l < z.layers; ++l) {
      kernels.push_back(random_values(size_t(z.units) * c.gates * z.units, range, source));
      biases.push_back(random_values(size_t(c.gates) * z.units, 1.0f, source));
    }
    projected = random_values(steps * c.gates, 1.0f, source);
    state = random_values(z.state(), 1.0f, source);
    mask = random_values((c.separate ? c.gates : 1) * z.state(), 1.5f, source);
    output_bars = random_values(steps, 1.0f, source);
    last_bar = random_values(z.state(), 1.0f, source);
    outputs.resize(steps);
    last.resize(z.state());
    state_bar.resize(z.state());
    for (int l = 0; l < z.layers; ++l) {
      for (int i = 0; i <= c.gates; ++i) saved.emplace_back(steps);
      errors.emplace_back(steps * c.gates);
    }
  }

  template <class P>
  void run(int threads) {
    ForwardArrays f{projected.data(), state.data(), {mask.data(), c.separate}, {}, {}, last.data(),
                    outputs.data(), {}};
    BackwardArrays b{{mask.data(), c.separate}, {}, {}, last_bar.data(), output_bars.data(),
                     state_bar.data(), {}};
    for (int l = 0; l < c.z.layers; ++l) {
      f.kernels.push_back(kernels[l].data());
      b.kernels.push_back(kernels[l].data());
      f.biases.push_back(biases[l].data());
      b.errors.push_back(errors[l].data());
    }
    for (auto& array : saved) {
      f.saved.push_back(array.data());
      b.saved.push_back(array.data());
    }
    run_forward<P>(c.z, f, c.gates, threads);
    run_backward<P>(c.z, b, c.gates, threads);
  }

  // The largest difference from plain loops in double precision.
  double difference() const {
    const Sizes& z = c.z;
    const int n = z.units, gates = c.gates;
    std::vector<double> s(state.begin(), state.end()), next(s.size());
    double worst = 0;
    auto compare = [&](double a, double b) { worst = std::max(worst, std::abs(a - b)); };
    auto mask_at = [&](int g, int b, int k) {
      return mask[((c.separate ? g : 0) * z.batch + b) * n + k];
    };
    for (int t = 0; t < z.time; ++t) {
      for (int l = 0; l < z.layers; ++l, s.swap(next)) {
        for (int b = 0; b < z.batch; ++b) {
          for (int j = 0; j < n; ++j) {
            double v[3];
            for (int g = 0; g < gates; ++g) {
              v[g] = biases[l][g * n + j];
              if (l == 0) v[g] += projected[((size_t(t) * z.batch + b) * gates + g) * n + j];
              for (int k = 0; k < n; ++k)
                v[g] += s[b * n + k] * mask_at(g, b, k) * kernels[l][(size_t(k) * gates + g) * n + j];
            }
            const double h = std::tanh(v[0]), gate = 1 / (1 + std::exp(-v[1]));
            const double carry = gates == 3 ? 1 / (1 + std::exp(-v[2])) : 1 - gate;
            next[b * n + j] = h * gate + s[b * n + j] * carry;
          }
        }
      }
      for (size_t i = 0; i < s.size(); ++i) compare(outputs[t * z.state() + i], s[i]);
    }
    std::vector<double> bar(last_bar.begin(), last_bar.end());
    for (int t = z.time - 1; t >= 0; --t) {
      for (size_t i = 0; i < bar.size(); ++i) bar[i] += output_bars[t * z.state() + i];
      for (int l = z.layers - 1; l >= 0; --l) backward_layer(t, l, bar, compare);
    }
    for (size_t i = 0; i < bar.size(); ++i) compare(state_bar[i], bar[i]);
    return worst;
  }

  template <class Compare>
  void backward_layer(int t, int l, std::vector<double>& bar, const Compare& compare) const {
    const Sizes& z = c.z;
    const int n = z.units, gates = c.gates;
    const auto* kept = &saved[size_t(l) * (1 + gates)];
    for (int b = 0; b < z.batch; ++b) {
      std::vector<double> e(size_t(gates) * n), before(n);
      for (int j = 0; j < n; ++j) {
        const size_t at = t * z.state() + size_t(b) * n + j;
        const double s = kept[0][at], h = kept[1][at], g = kept[2][at], d = bar[b * n + j];
        const double carry = gates == 3 ? kept[3][at] : 1 - g;
        e[j] = d * g * (1 - h * h);
        e[n + j] = d * (gates == 3 ? h : h - s) * g * (1 - g);
        if (gates == 3) e[2 * n + j] = d * s * carry * (1 - carry);
        before[j] = d * carry;
      }
      for (int i = 0; i < gates * n; ++i)
        compare(errors[l][(size_t(t) * z.batch + b) * gates * n + i], e[i]);
      for (int k = 0; k < n; ++k) {
        for (int g = 0; g < gates; ++g) {
          double sum = 0;
          for (int j = 0; j < n; ++j)
            sum += e[g * n + j] * kernels[l][(size_t(k) * gates + g) * n + j];
          before[k] += sum * mask[((c.separate ? g : 0) * z.batch + b) * n + k];
        }
      }
      std::copy(before.begin(), before.end(), bar.begin() + b * n);
    }
  }

  bool same_bits(const Problem& other) const {
    return outputs == other.outputs && last == other.last && saved == other.saved &&
           errors == other.errors && state_bar == other.state_bar;
  }

  const Case c;
  std::mt19937 source;
  std::vector<std::vector<float>> kernels, biases, saved, errors;
  std::vector<float> projected, state, mask, output_bars, last_bar, outputs, last, state_bar;
};

template <class P>
bool check(const Case& c, double tolerance) {
  Problem alone(c);
  alone.run<P>(1);
  const double difference = alone.difference();
  bool fine = difference <= tolerance;
  for (int threads : {2, 3, Team::MOST + 1}) {
    Problem shared(c);
    shared.run<P>(threads);
    fine = fine && shared.same_bits(alone);
  }
  if (!fine) {
    std::printf("wrong: %d units, batch %d, %d gates, separate %d: difference %g\n", c.z.units,
                c.z.batch, c.gates, c.separate, difference);
  }
  return fine;
}

bool check_callers() {
  const Case c{{4, 3, 50, 2}, 2, false};
  Problem alone(c);
  alone.run<Single>(1);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 10; ++repeat) {
        Problem shared(c);
        shared.run<Single>(2);
        wrong += !shared.same_bits(alone);
      }
    });
  }
  for (auto& caller : callers) caller.join();
  if (wrong) std::printf("wrong: callers at the same time\n");
  return wrong == 0;
}

bool check_fork() {
#if defined(__SANITIZE_THREAD__)
  return true;  // it doesn't follow threads through a fork
#else
  const pid_t child = fork();
  if (child == 0) _exit(check<Single>({{3, 2, 40, 2}, 2, false}, 1e-4) ? 0 : 1);
  int status = 1;
  waitpid(child, &status, 0);
  if (status) std::printf("wrong: after a fork\n");
  return status == 0;
#endif
}

}  // namespace

int main() {
  bool fine = true;
  for (int gates : {2, 3}) {
    for (bool separate : {false, true}) {
      for (int units : {1, 7, 16, 33, 70}) {
        for (int batch : {1, 3, 10, 23}) {
          const Case c{{3, batch, units, 2}, gates, separate};
          fine = check<Single>(c, 2e-6) && fine;
          fine = check<Narrow>(c, 0.02) && fine;
        }
      }
    }
  }
  fine = check_callers() && fine;
  fine = check_fork() && fine;
  return fine ? 0 : 1;
}
