// The recurrence of highway layers as custom calls of XLA. `highway/kernel.py` compiles this file.

#include <exception>

#include "recurrence.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace highway {

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

template <class Pass>
ffi::Error guarded(const Pass& pass) {
  try {
    return pass();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

// Reads arrays from `*at` on, `count` of them.
ffi::Error read(const ffi::RemainingArgs& args, int count, size_t* at,
                std::vector<const float*>* to) {
  for (int i = 0; i < count; ++i, ++*at) {
    auto array = args.get<Array>(*at);
    if (array.has_error()) return array.error();
    to->push_back(array->typed_data());
  }
  return ffi::Error::Success();
}

ffi::Error read(const ffi::RemainingRets& rets, std::vector<float*>* to) {
  for (size_t i = 0; i < rets.size(); ++i) {
    auto array = rets.get<Array>(i);
    if (array.has_error()) return array.error();
    to->push_back((*array)->typed_data());
  }
  return ffi::Error::Success();
}

Sizes sizes_of(const Array& steps, int layers) {
  const auto shape = steps.dimensions();
  return {int(shape[0]), int(shape[1]), int(shape.back()), layers};
}

Mask mask_of(const Array& mask) { return {mask.typed_data(), mask.dimensions()[0] > 1}; }

// Remaining arguments: the layers' kernels, then their biases.
ffi::Error forward(Array projected, Array state, Array mask, ffi::RemainingArgs args, Result last,
                   Result outputs, ffi::RemainingRets saved, int32_t threads, bool narrow) {
  return guarded([&] {
    const int layers = int(args.size()) / 2, gates = int(projected.dimensions()[2]);
    ForwardArrays a{projected.typed_data(), state.typed_data(), mask_of(mask), {}, {},
                    last->typed_data(), outputs->typed_data(), {}};
    size_t at = 0;
    if (auto error = read(args, layers, &at, &a.kernels); error.failure()) return error;
    if (auto error = read(args, layers, &at, &a.biases); error.failure()) return error;
    if (auto error = read(saved, &a.saved); error.failure()) return error;
    const Sizes z = sizes_of(projected, layers);
    narrow ? run_forward<Narrow>(z, a, gates, threads) : run_forward<Single>(z, a, gates, threads);
    return ffi::Error::Success();
  });
}

// Remaining arguments: the layers' kernels, then what the forward pass saved.
ffi::Error backward(Array last_bar, Array output_bars, Array mask, ffi::RemainingArgs args,
                    Result state_bar, ffi::RemainingRets errors, int32_t threads, bool narrow) {
  return guarded([&] {
    const int layers = int(errors.size());
    const int saved = int(args.size()) - layers, gates = saved / layers - 1;
    BackwardArrays a{mask_of(mask), {}, {}, last_bar.typed_data(), output_bars.typed_data(),
                     state_bar->typed_data(), {}};
    size_t at = 0;
    if (auto error = read(args, layers, &at, &a.kernels); error.failure()) return error;
    if (auto error = read(args, saved, &at, &a.saved); error.failure()) return error;
    if (auto error = read(errors, &a.errors); error.failure()) return error;
    const Sizes z = sizes_of(output_bars, layers);
    narrow ? run_backward<Narrow>(z, a, gates, threads)
           : run_backward<Single>(z, a, gates, threads);
    return ffi::Error::Success();
  });
}

}  // namespace highway

#pragma GCC visibility push(default)

XLA_FFI_DEFINE_HANDLER_SYMBOL(HighwayForward, highway::forward,
                              ffi::Ffi::Bind()
                                  .Arg<highway::Array>()
                                  .Arg<highway::Array>()
                                  .Arg<highway::Array>()
                                  .RemainingArgs()
                                  .Ret<highway::Array>()
                                  .Ret<highway::Array>()
                                  .RemainingRets()
                                  .Attr<int32_t>("threads")
                                  .Attr<bool>("narrow"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(HighwayBackward, highway::backward,
                              ffi::Ffi::Bind()
                                  .Arg<highway::Array>()
                                  .Arg<highway::Array>()
                                  .Arg<highway::Array>()
                                  .RemainingArgs()
                                  .Ret<highway::Array>()
                                  .RemainingRets()
                                  .Attr<int32_t>("threads")
                                  .Attr<bool>("narrow"));

#pragma GCC visibility pop
