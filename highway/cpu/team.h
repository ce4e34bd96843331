// Threads that share the work of one caller, turn by turn.

#ifndef HIGHWAY_CPU_TEAM_H_
#define HIGHWAY_CPU_TEAM_H_

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

namespace highway {

// Waits until `reached` says so. Spins at first, since turns are short; then lets others run, who
// may have what it waits for.
template <class Condition>
inline void wait_until(const Condition& reached) {
  for (int spins = 0; !reached(); ++spins) {
    if (spins < 4000) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    } else {
      std::this_thread::yield();
    }
  }
}

// A caller and its helpers. The caller never waits for a helper to come: it does all by itself until
// one is there. A helper that is kept from running holds up at most the item that it is at.
//
// Helpers live as long as the process. The team is never destroyed: joining its threads at exit
// could wait for ever.
class Team {
 public:
  using Work = std::function<void(int turn, int item)>;

  static constexpr int MOST = 16;  // members; with more, a turn is too short to be shared

  // Calls work(turn, item) for every turn and every item of it, by several threads. A turn begins
  // when the one before has ended. Who comes while the helpers are busy does all by itself.
  static void run(int threads, int turns, int items, const Work& work) {
    const int members = std::min({threads, items, MOST});
    Team* team = members > 1 ? current() : nullptr;
    std::unique_lock<std::mutex> leading;
    if (team != nullptr) leading = std::unique_lock<std::mutex>(team->leading_, std::try_to_lock);
    if (leading.owns_lock()) {
      team->lead(members, turns, items, work);
      return;
    }
    for (int turn = 0; turn < turns; ++turn)
      for (int item = 0; item < items; ++item) work(turn, item);
  }

 private:
  // Items of a turn that nobody has taken yet, mostly by the member whose they are, at last by any.
  // One word holds all: whoever comes with an old turn in mind can't take an item of the next.
  class alignas(64) Range {
   public:
    void set(int turn, int begin, int end) {
      word_.store(pack(turn, begin, end), std::memory_order_release);
    }

    // Takes an item of the turn; −1 if there is none.
    int take(int turn) {
      uint64_t word = word_.load(std::memory_order_acquire);
      for (;;) {
        const int next = int(word >> 16 & 0xFFFF), end = int(word & 0xFFFF);
        if (word >> 32 != uint32_t(turn) || next >= end) return -1;
        if (word_.compare_exchange_weak(word, pack(turn, next + 1, end), std::memory_order_acq_rel))
          return next;
      }
    }

   private:
    static uint64_t pack(int turn, int next, int end) {
      return uint64_t(turn) << 32 | uint64_t(next) << 16 | uint64_t(end);
    }
    std::atomic<uint64_t> word_{0};
  };

  // Outlives its caller's interest where a helper comes late, who then finds it closed.
  struct Job {
    static constexpr int NONE = -1, CLOSED = -2;

    Job(int members, const Work& work) : members(members), work(work) {
      std::fegetenv(&environment);
    }

    void begin(int turn, int items) {
      const int present = std::min(1 + arrived.load(std::memory_order_acquire), members);
      for (int i = 0; i < members; ++i) {
        const bool here = i < present;
        ranges[i].set(turn, here ? items * i / present : 0, here ? items * (i + 1) / present : 0);
      }
      done.store(0, std::memory_order_relaxed);
      order.store(turn, std::memory_order_release);
    }

    void take_part(int turn, int member) {
      for (int i = 0; i < members; ++i) {
        Range& range = ranges[(member + i) % members];
        for (int item; (item = range.take(turn)) >= 0;) {
          work(turn, item);
          done.fetch_add(1, std::memory_order_acq_rel);
        }
      }
    }

    const int members;
    const Work& work;         // the caller's: not to be touched once the job is closed
    std::fenv_t environment;  // how the caller rounds: helpers must give the same bits
    std::atomic<int> arrived{0};
    Range ranges[MOST];
    alignas(64) std::atomic<int> order{NONE};  // the turn that is on
    alignas(64) std::atomic<int> done{0};      // items of it
  };

  static Team* current() {
    static std::atomic<Team*> team{nullptr};
    static std::once_flag once;
    std::call_once(once, [] {
      team = new Team;
      // A forked child has none of the threads, and maybe a lock that nobody will ever open.
      pthread_atfork(nullptr, nullptr, [] { team = new Team; });
    });
    return team;
  }

  void lead(int members, int turns, int items, const Work& work) {
    hire(members - 1);
    auto job = std::make_shared<Job>(members, work);
    post(job);
    for (int turn = 0; turn < turns; ++turn) {
      job->begin(turn, items);
      job->take_part(turn, 0);
      wait_until([&] { return job->done.load(std::memory_order_acquire) == items; });
    }
    job->order.store(Job::CLOSED, std::memory_order_release);
    post(nullptr);
  }

  void hire(int wanted) {
    try {
      for (; helpers_ < wanted; ++helpers_) std::thread(&Team::help, this).detach();
    } catch (const std::system_error&) {  // no more threads to be had: fewer share the work
    }
  }

  void post(std::shared_ptr<Job> job) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = std::move(job);
    }
    posted_.notify_all();
  }

  void help() {
    std::shared_ptr<Job> job;
    for (;;) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        posted_.wait(lock, [&] { return job_ != nullptr && job_ != job; });
        job = job_;
      }
      std::fesetenv(&job->environment);
      const int member = 1 + job->arrived.fetch_add(1, std::memory_order_acq_rel);
      for (int turn = Job::NONE;;) {
        const int seen = turn;
        wait_until([&] { return (turn = job->order.load(std::memory_order_acquire)) != seen; });
        if (turn == Job::CLOSED) break;
        job->take_part(turn, member);
      }
    }
  }

  std::mutex leading_;  // held by the caller whose job it is
  std::mutex mutex_;    // guards job_
  std::condition_variable posted_;
  std::shared_ptr<Job> job_;
  int helpers_ = 0;
};

}  // namespace highway

#endif  // HIGHWAY_CPU_TEAM_H_
