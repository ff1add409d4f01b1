// SPDX-License-Identifier: MIT
/// What the tests of tern::cuda have in common: a device or a skip, copies, random operands, outputs with canaries.
#pragma once

#include <support/catch.hpp>

#include <tern/cuda.hpp>
#include <tern/kernel/reference.hpp>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

namespace tern_test {

/// Skips the test case where there is no device. TERN_PROMISE_ISA=cuda makes that a failure.
inline void require_device() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) skip("no cuda device");
}

inline void check(cudaError_t code) { tern::detail::check_cuda(code, "test"); }

template <class T>
tern::cuda::device_bytes to_device(const std::vector<T>& values) {
  tern::cuda::device_bytes bytes(values.size() * sizeof(T));
  check(cudaMemcpy(bytes.data(), values.data(), bytes.size(), cudaMemcpyHostToDevice));
  return bytes;
}
inline std::vector<std::byte> to_host(const tern::cuda::device_bytes& bytes) {
  std::vector<std::byte> values(bytes.size());
  check(cudaMemcpy(values.data(), bytes.data(), bytes.size(), cudaMemcpyDeviceToHost));
  return values;
}

/// An output matrix in device memory with canaries before it, behind it and between its rows, and what it must become. Its rows
/// are aligned to four elements where the numbers of its rows and columns have an even sum, and else to one: kernels store
/// vectors where they can.
template <class Y>
class guarded_output {
 public:
  guarded_output(std::size_t rows, std::size_t cols)
      : rows_(rows),
        cols_(cols),
        expected_((before() + (rows + 1) * stride()) * sizeof(Y), poison),
        device_(expected_.size()) {
    poison_all();
  }
  void poison_all() { check(cudaMemset(device_.data(), static_cast<int>(poison), device_.size())); }
  tern::matrix_view<Y> view() { return {device_.as<Y>(before() * sizeof(Y)), rows_, cols_, stride()}; }
  /// The same place on the host, for the oracle.
  tern::matrix_view<Y> expected() {
    return {reinterpret_cast<Y*>(expected_.data()) + before(), rows_, cols_, stride()};
  }
  /// Whether every byte is as expected, canaries included.
  bool holds() const { return to_host(device_) == expected_; }
  /// Whether every byte is as the other's, canaries included.
  bool equals(const guarded_output& other) const { return to_host(device_) == to_host(other.device_); }

 private:
  static constexpr std::byte poison{0xa5};
  bool aligned() const { return (rows_ + cols_) % 2 == 0; }
  std::size_t before() const { return aligned() ? 4 : 3; }
  std::size_t stride() const { return aligned() ? tern::detail::round_up(cols_, 4) + 4 : cols_ + 5; }

  std::size_t rows_, cols_;
  std::vector<std::byte> expected_;
  tern::cuda::device_bytes device_;
};

/// Activations with all codes -128 .. 127, and zero points if wanted.
inline tern::quantized_activations draw_activations(std::size_t tokens, std::size_t inputs, bool zeros,
                                                    std::mt19937& random) {
  std::vector<std::int8_t> codes(tokens * inputs);
  for (std::int8_t& code : codes) code = static_cast<std::int8_t>(random());
  std::vector<float> scales(tokens);
  for (float& scale : scales) scale = std::normal_distribution<float>()(random);
  std::vector<std::int32_t> zero(zeros ? tokens : 0);
  for (std::int32_t& z : zero) z = static_cast<std::int8_t>(random());
  return tern::quantized_activations::from_codes({codes.data(), tokens, inputs}, scales, zero);
}

/// Packed weights of every byte that memory can hold, codes of padding included, with scales and, if wanted, zero points.
/// Sums are those of the levels.
template <tern::codec Codec>
tern::packed_matrix<Codec> draw_weights(std::size_t rows, std::size_t cols, std::size_t planes,
                                        tern::granularity granularity, tern::scale_type scales, bool zeros, bool sums,
                                        const Codec& codec, std::mt19937& random) {
  const tern::packed_format format{rows, cols, planes, granularity, scales, zeros, sums};
  tern::aligned_bytes storage(tern::packed_view<Codec>::storage_bytes(format));
  const tern::packed_view<Codec> w(storage, format, codec);
  for (std::size_t i = 0; i < storage.size(); ++i) storage.data()[i] = static_cast<std::byte>(random());
  std::byte* const first_scale = const_cast<std::byte*>(w.scales(0, 0, 0));
  std::byte* const scales_end = zeros  ? const_cast<std::byte*>(reinterpret_cast<const std::byte*>(w.zeros(0, 0, 0)))
                                : sums ? const_cast<std::byte*>(reinterpret_cast<const std::byte*>(w.sums(0, 0, 0)))
                                       : storage.data() + storage.size();
  for (std::byte* at = first_scale; at < scales_end; at += tern::bytes_of(scales))
    tern::detail::store_scale(at, scales, std::normal_distribution<float>()(random));
  if (sums)
    for (std::size_t p = 0; p < planes; ++p)
      for (std::size_t n = 0; n < rows; ++n)
        for (std::size_t g = 0; g < w.groups(); ++g) {
          std::int32_t sum = 0;
          for (std::size_t k = w.group_begin(g); k < w.group_begin(g + 1); ++k) sum += w.level(p, n, k);
          const_cast<std::int32_t*>(w.sums(n / 16, p, g))[n % 16] = sum;
        }
  return tern::packed_matrix<Codec>(w);
}

/// The reference's product, its tokens on several threads: it takes most of the tests' time.
template <class Y, tern::codec Codec>
void reference_matmul(const tern::quantized_activations& x, const tern::packed_matrix<Codec>& w,
                      const std::vector<float>& bias, const tern::matrix_view<Y>& y) {
  const std::size_t each = tern::detail::ceil_div(x.rows(), std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::thread> threads;
  for (std::size_t m = 0; m < x.rows(); m += each)
    threads.emplace_back([&, m, tokens = std::min(each, x.rows() - m)] {
      const auto part = tern::quantized_activations::from_codes(
          {x.view().codes(m), tokens, x.cols(), x.view().row_stride()}, {&x.view().scale(m), tokens},
          x.has_zeros() ? std::span<const std::int32_t>(&x.view().zero(m), tokens) : std::span<const std::int32_t>());
      tern::kernel::reference::matmul<Codec>({part.view(), w.view(),
                                              tern::matrix_view<Y>(y.row(m), tokens, y.cols(), y.row_stride()),
                                              bias.empty() ? nullptr : bias.data()});
    });
  for (std::thread& thread : threads) thread.join();
}

/// What run(x, w, y, bias), on device memory, writes == the reference's product of x and w, as bytes.
template <class Y, tern::codec Codec, class Run>
bool run_agrees(const tern::quantized_activations& x, const tern::packed_matrix<Codec>& w,
                const std::vector<float>& bias, const Run& run) {
  guarded_output<Y> y(x.rows(), w.rows());
  reference_matmul(x, w, bias, y.expected());
  const tern::cuda::device_activations on_x(x.view());
  const tern::cuda::device_matrix on_w(w);
  const tern::cuda::device_bytes on_bias = to_device(bias);
  run(on_x.view(), on_w.view(), y.view(), std::span<const float>(on_bias.as<float>(), bias.size()));
  check(cudaDeviceSynchronize());
  return y.holds();
}

/// The device's product of x and w == the reference's.
template <class Y, tern::codec Codec>
bool product_agrees(const tern::quantized_activations& x, const tern::packed_matrix<Codec>& w,
                    const std::vector<float>& bias) {
  return run_agrees<Y>(x, w, bias, [](const auto&... arguments) { tern::cuda::matmul(arguments...); });
}

}  // namespace tern_test
