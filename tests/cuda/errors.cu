// SPDX-License-Identifier: MIT
// What owners and views of device memory refuse, and what CUDA's own refusals become.
#include "device.hpp"

#include <algorithm>

namespace {

tern::quantized_matrix one_plane(std::size_t rows, std::size_t cols) {
  tern::quantized_matrix q(1, rows, cols, tern::per_channel);
  std::fill(q.scales.begin(), q.scales.end(), 1.0f);
  return q;
}

}  // namespace

TEST_CASE("cuda views refuse storage of a wrong size or alignment", "[cuda]") {
  tern_test::require_device();
  using view = tern::cuda::device_matrix_view<tern::i2>;
  const tern::packed_format format{16, 64};
  const std::size_t bytes = tern::packed_view<tern::i2>::storage_bytes(format);
  const tern::cuda::device_bytes storage(bytes + 64);
  const auto span = [&](std::size_t offset, std::size_t size) {
    return std::span<const std::byte>(storage.data() + offset, size);
  };
  CHECK(view(span(64, bytes), format).storage_bytes() == bytes);
  CHECK_THROWS_AS(view(span(0, bytes - 1), format), tern::shape_error);
  CHECK_THROWS_AS(view(span(0, bytes + 64), format), tern::shape_error);
  CHECK_THROWS_WITH(view(span(8, bytes), format), tern_test::contains("aligned to 64 bytes"));
  CHECK_THROWS_AS(view(span(0, bytes), {16, 64, 0}), tern::range_error);
  CHECK_THROWS_AS(view(span(0, bytes), {16, 64, 1, tern::per_group(24)}), tern::range_error);

  using tern::cuda::device_activations_view;
  const std::size_t x_bytes = device_activations_view::storage_bytes(2, 64);
  const tern::cuda::device_bytes x(x_bytes + 64);
  const auto x_span = [&](std::size_t offset, std::size_t size) {
    return std::span<std::byte>(x.data() + offset, size);
  };
  CHECK(device_activations_view(x_span(64, x_bytes), 2, 64).rows() == 2);
  CHECK_THROWS_WITH(device_activations_view(x_span(0, x_bytes - 1), 2, 64), tern_test::contains("need a workspace of"));
  CHECK_THROWS_WITH(device_activations_view(x_span(4, x_bytes), 2, 64), tern_test::contains("aligned to 64 bytes"));
}

TEST_CASE("cuda owners move their memory", "[cuda]") {
  tern_test::require_device();
  tern::cuda::device_bytes first(256);
  const std::byte* const data = first.data();
  tern::cuda::device_bytes second(std::move(first));
  CHECK(second.data() == data);
  CHECK(first.data() == nullptr);
  CHECK(first.size() == 0);
  first = std::move(second);
  CHECK(first.data() == data);
  CHECK(first.size() == 256);
  CHECK(tern::cuda::device_bytes(0).data() == nullptr);

  const tern::packed_matrix<tern::i2> host(one_plane(20, 64));
  tern::cuda::device_matrix w(host);
  const tern::cuda::device_matrix<tern::i2> moved(std::move(w));
  CHECK(moved.rows() == 20);
  tern_test::check(cudaDeviceSynchronize());
  std::vector<std::byte> back(host.storage_bytes());
  tern_test::check(cudaMemcpy(back.data(), moved.view().layout().codes(0, 0), back.size(), cudaMemcpyDeviceToHost));
  CHECK(std::equal(back.begin(), back.end(), host.storage().begin()));
}

TEST_CASE("cuda allocations and waits are refused while a stream is captured", "[cuda]") {
  tern_test::require_device();
  cudaStream_t stream = nullptr;
  tern_test::check(cudaStreamCreate(&stream));
  tern_test::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  try {
    const tern::cuda::device_bytes memory(256);
    FAIL("an allocation is not a part of a graph");
  } catch (const tern::cuda::cuda_error& e) {
    CHECK(e.code() == cudaErrorStreamCaptureUnsupported);
    CHECK_THAT(e.what(), tern_test::contains("cudaMalloc: cudaErrorStreamCaptureUnsupported"));
  }
  cudaGraph_t graph = nullptr;
  static_cast<void>(cudaStreamEndCapture(stream, &graph));
  static_cast<void>(cudaGetLastError());
  tern_test::check(cudaStreamDestroy(stream));
  tern_test::check(cudaDeviceSynchronize());
}
