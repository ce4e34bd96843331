// Working memory of a call, kept for the next one: fresh pages cost as much as their first use.

#ifndef HIGHWAY_CPU_MEMORY_H_
#define HIGHWAY_CPU_MEMORY_H_

#include <atomic>
#include <cstddef>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace highway {

constexpr size_t LINE = 64;  // bytes of a cache line

// Memory that is cut into arrays on cache lines. What it holds at first is arbitrary.
class Scratch {
 public:
  explicit Scratch(size_t bytes) {
    for (auto& kept : kept_) {
      block_ = kept.exchange(nullptr);
      if (block_ != nullptr && block_->size >= bytes) return;
      release(block_);
    }
    block_ = new Block{allocate(bytes), bytes};
  }
  ~Scratch() {
    for (auto& kept : kept_) {
      Block* none = nullptr;
      if (kept.compare_exchange_strong(none, block_)) return;
    }
    release(block_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Bytes of an array, as `take` counts them.
  template <class T>
  static size_t bytes(size_t count) {
    return (count * sizeof(T) + LINE - 1) / LINE * LINE;
  }

  template <class T>
  T* take(size_t count) {
    T* array = reinterpret_cast<T*>(static_cast<char*>(block_->data) + used_);
    used_ += bytes<T>(count);
    return array;
  }

 private:
  struct Block {
    void* data;
    size_t size;
  };

  static constexpr std::align_val_t PAGE{size_t{1} << 21};

  static void* allocate(size_t bytes) {
    void* data = ::operator new(bytes, PAGE);
#if defined(__linux__)
    madvise(data, bytes, MADV_HUGEPAGE);  // a wish: without it products wait for address look-ups
#endif
    return data;
  }

  static void release(Block* block) {
    if (block == nullptr) return;
    ::operator delete(block->data, PAGE);
    delete block;
  }

  // Two, so that two callers at a time find theirs. Without a lock, which a fork could leave locked.
  static inline std::atomic<Block*> kept_[2] = {};
  Block* block_ = nullptr;
  size_t used_ = 0;
};

}  // namespace highway

#endif  // HIGHWAY_CPU_MEMORY_H_
