// SPDX-License-Identifier: MIT
// Layers on the device == layers of the host, and one token by its own kernel == the reference, bit for bit.
#include "device.hpp"

#include <cmath>
#include <cstring>

#include <tern/linear.hpp>

namespace {

using tern_test::draw_weights;

/// Rows of x in device memory that begin `offset` elements after an aligned address, `offset` elements apart.
template <class X>
class strided_input {
 public:
  strided_input(std::size_t rows, std::size_t cols, std::size_t offset, std::mt19937& random)
      : rows_(rows), cols_(cols), offset_(offset), values_(offset + rows * (cols + offset), X(1e30f)) {
    std::normal_distribution<float> normal(0, 3);
    for (std::size_t m = 0; m < rows; ++m)
      for (std::size_t k = 0; k < cols; ++k) at(m, k) = X(normal(random));
  }
  X& at(std::size_t m, std::size_t k) { return values_[offset_ + m * (cols_ + offset_) + k]; }
  tern::matrix_view<const X> on_host() const { return {values_.data() + offset_, rows_, cols_, cols_ + offset_}; }
  tern::matrix_view<const X> on_device() {
    device_ = tern_test::to_device(values_);
    return {device_.template as<X>(offset_ * sizeof(X)), rows_, cols_, cols_ + offset_};
  }

 private:
  std::size_t rows_, cols_, offset_;
  std::vector<X> values_;
  tern::cuda::device_bytes device_;
};

/// Runs the layer in a workspace of the bytes it asks for, with canaries behind. Whether these hold.
template <class X, class Y, class Codec>
bool run_in_workspace(const tern::cuda::linear<Codec>& layer, tern::matrix_view<const X> x, tern::matrix_view<Y> y) {
  constexpr std::size_t canaries = 64;
  const std::size_t bytes = layer.workspace_bytes(x.rows());
  const tern::cuda::device_bytes workspace(bytes + canaries);
  tern_test::check(cudaMemset(workspace.data(), 0xa5, workspace.size()));
  layer(x, y, {workspace.data(), bytes});
  const std::vector<std::byte> after = tern_test::to_host(workspace);
  return std::vector(after.end() - canaries, after.end()) == std::vector(canaries, std::byte{0xa5});
}

/// The layer of these weights == the reference's quantizer and product, canaries included.
template <class X, class Y, class Codec>
bool layer_agrees(std::size_t tokens, const tern::packed_matrix<Codec>& w, bool with_bias, std::size_t offset,
                  std::mt19937& random) {
  strided_input<X> x(tokens, w.cols(), offset, random);
  std::vector<float> bias(with_bias ? w.rows() : 0);
  for (float& b : bias) b = std::normal_distribution<float>()(random);
  tern::quantized_activations q(tokens, w.cols());
  std::vector<float> row(w.cols());
  for (std::size_t m = 0; m < tokens; ++m) {
    for (std::size_t k = 0; k < w.cols(); ++k) row[k] = static_cast<float>(x.at(m, k));
    q.view().scale(m) = tern::kernel::reference::quantize_row(row.data(), w.cols(), q.view().codes(m));
  }
  tern_test::guarded_output<Y> y(tokens, w.rows());
  tern::kernel::reference::matmul<Codec>({q.view(), w.view(), y.expected(), bias.empty() ? nullptr : bias.data()});
  const tern::cuda::linear<Codec> layer(tern::cuda::device_matrix<Codec>(w), bias);
  return run_in_workspace(layer, x.on_device(), y.view()) && y.holds();
}

template <class X, class Codec>
bool layer_agrees(const std::type_identity<X>&, std::size_t tokens, const tern::packed_matrix<Codec>& w,
                  unsigned variant, std::mt19937& random) {
  const std::size_t offset = variant % 3 == 0 ? 4 : variant % 3;  // aligned to four elements, or to one, or to two
  if (variant % 4 == 1) return layer_agrees<X, tern::half>(tokens, w, variant % 2 == 1, offset, random);
  if (variant % 4 == 2) return layer_agrees<X, tern::bfloat16>(tokens, w, true, offset, random);
  return layer_agrees<X, float>(tokens, w, variant % 8 == 3, offset, random);
}

/// A layer whose properties follow from `variant`.
template <class Codec>
bool random_layer_agrees(std::size_t tokens, std::size_t rows, std::size_t cols, unsigned variant,
                         std::mt19937& random) {
  const std::size_t group = Codec::group_multiple * (1 + variant / 3 % 11);
  const tern::granularity granularities[] = {tern::per_channel, tern::per_group(group), tern::per_tensor};
  const auto w = draw_weights<Codec>(rows, cols, variant % 5 == 4 ? 3 : 1, granularities[variant % 3],
                                     static_cast<tern::scale_type>(variant / 2 % 3), variant % 7 == 1, variant % 2 == 0,
                                     {}, random);
  if (variant % 9 < 3) return layer_agrees(std::type_identity<tern::half>(), tokens, w, variant, random);
  if (variant % 9 < 6) return layer_agrees(std::type_identity<tern::bfloat16>(), tokens, w, variant, random);
  return layer_agrees(std::type_identity<float>(), tokens, w, variant, random);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("cuda layers equal the reference", "[cuda]", tern::codecs) {
  tern_test::require_device();
  std::mt19937 random(TestType::fold * 10 + TestType::bytes);
  const std::size_t block = tern::block_inputs<TestType>, step = 8 * block;
  unsigned variant = 0;
  for (const std::size_t cols : {std::size_t{1}, std::size_t{7}, block, block + 1, step - 1, step, step + 1,
                                 3 * step + block, std::size_t{1500}, std::size_t{4099}})
    for (const std::size_t rows : {1, 16, 17, 50, 2500}) {
      if (rows * cols > 4000000) continue;
      const std::size_t tokens = variant % 4 == 3 ? 2 + variant % 5 : 1;
      CAPTURE(tokens, rows, cols, variant);
      REQUIRE(random_layer_agrees<TestType>(tokens, rows, cols, variant, random));
      ++variant;
    }
}

// More panels than multiprocessors; rows that threads read in more than one pass; shares that do not fit a warp's ring; rings of
// fewer warps.
TEST_CASE("cuda layers of one token in all sizes", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(2);
  unsigned variant = 0;
  for (const auto& [rows, cols] : {std::pair<std::size_t, std::size_t>{2563, 640},
                                   {40000, 33},
                                   {20, 9001},
                                   {300, 20000},
                                   {35, 60000},
                                   {4000, 2560},
                                   {17, 131071}})
    for (unsigned i = 0; i < 3; ++i, ++variant) {
      CAPTURE(rows, cols, variant);
      CHECK(random_layer_agrees<tern::i2>(1, rows, cols, variant, random));
      if (rows * cols < 3000000) CHECK(random_layer_agrees<tern::i8>(1, rows, cols, variant, random));
    }
  // More runs than shared memory holds sums of: the two kernels for several tokens.
  const auto w =
      draw_weights<tern::i2>(20, 30000, 2, tern::per_group(16), tern::scale_type::float32, false, false, {}, random);
  CHECK(layer_agrees<float, float>(1, w, true, 4, random));
}

TEST_CASE("cuda layers where tokens are not finite", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(3);
  const auto w =
      draw_weights<tern::i2>(40, 300, 1, tern::per_channel, tern::scale_type::float32, false, false, {}, random);
  const tern::cuda::linear<tern::i2> layer(tern::cuda::device_matrix<tern::i2>(w), std::vector<float>(40, 1.0f));
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY})
    for (const std::size_t tokens : {1, 3}) {
      strided_input<float> x(tokens, 300, 4, random);
      x.at(tokens - 1, 299) = bad;
      const tern::cuda::device_bytes y(tokens * 40 * sizeof(float));
      CHECK(run_in_workspace(layer, x.on_device(), tern::matrix_view<float>(y.as<float>(), tokens, 40)));
      const std::vector<std::byte> bytes = tern_test::to_host(y);
      std::vector<float> values(tokens * 40);
      std::memcpy(values.data(), bytes.data(), bytes.size());
      for (std::size_t i = 0; i < values.size(); ++i) {
        CAPTURE(tokens, bad, i);
        CHECK(std::isnan(values[i]) == (i >= (tokens - 1) * 40));
      }
    }
}

namespace {

/// A layer of the host, copied to the device: the same bits, run at once and three times in a graph.
template <class Layer>
void check_copy_of(const Layer& host, std::size_t tokens, std::mt19937& random) {
  strided_input<tern::bfloat16> x(tokens, host.in_features(), 4, random);
  const tern::matrix<float> expected = host(x.on_host());
  cudaStream_t stream = nullptr;
  tern_test::check(cudaStreamCreate(&stream));
  const tern::cuda::linear layer(host, stream);
  CHECK(layer.in_features() == host.in_features());
  CHECK(layer.out_features() == host.out_features());
  CHECK(layer.bias().size() == host.bias().size());
  tern_test::guarded_output<float> y(tokens, host.out_features());
  for (std::size_t m = 0; m < tokens; ++m)
    for (std::size_t n = 0; n < host.out_features(); ++n) y.expected()(m, n) = expected(m, n);
  const tern::cuda::device_bytes workspace(layer.workspace_bytes(tokens));
  const auto on_device = x.on_device();
  layer(on_device, y.view(), workspace, {stream, true});
  tern_test::check(cudaStreamSynchronize(stream));
  CHECK(y.holds());

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t runnable = nullptr;
  tern_test::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));  // refuses what would synchronise
  for (int i = 0; i < 3; ++i) layer(on_device, y.view(), workspace, {stream, true});
  tern_test::check(cudaStreamEndCapture(stream, &graph));
  tern_test::check(cudaGraphInstantiate(&runnable, graph, 0));
  for (int repetition = 0; repetition < 20; ++repetition) {
    y.poison_all();
    tern_test::check(cudaGraphLaunch(runnable, stream));
    tern_test::check(cudaStreamSynchronize(stream));
    CAPTURE(tokens, repetition);
    REQUIRE(y.holds());
  }
  tern_test::check(cudaGraphExecDestroy(runnable));
  tern_test::check(cudaGraphDestroy(graph));
  tern_test::check(cudaStreamDestroy(stream));
}

}  // namespace

TEST_CASE("cuda layers from layers of the host", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(4);
  tern::matrix<float> w(100, 512);
  for (std::size_t i = 0; i < 100 * 512; ++i) w.data()[i] = std::normal_distribution<float>()(random);
  const std::vector<float> bias(100, 0.25f);
  for (const std::size_t tokens : {1, 4}) {
    check_copy_of(tern::bit_linear::from_float(w), tokens, random);
    check_copy_of(tern::bit_linear::from_float(w, bias), tokens, random);
    check_copy_of(tern::multi_ternary_linear::from_float(w, bias, {.planes = 3}), tokens, random);
    check_copy_of(tern::trit_code_linear::from_float(w, bias), tokens, random);
    check_copy_of(tern::int4_linear::from_float(w, bias), tokens, random);
    check_copy_of(tern::int8_linear::from_float(w, bias), tokens, random);
  }
}

TEST_CASE("cuda layers of nothing", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(5);
  const auto weights = [&](std::size_t rows, std::size_t cols) {
    return draw_weights<tern::i2>(rows, cols, 1, tern::per_channel, tern::scale_type::float32, false, false, {},
                                  random);
  };
  for (const std::size_t tokens : {0, 1, 3})
    for (const bool with_bias : {false, true}) {
      CHECK(layer_agrees<float, float>(tokens, weights(20, 0), with_bias, 4, random));
      CHECK(layer_agrees<float, float>(tokens, weights(0, 32), false, 4, random));
    }
}

TEST_CASE("cuda layers are refused for the reasons of the host's", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(6);
  const auto w =
      draw_weights<tern::i2>(20, 64, 1, tern::per_channel, tern::scale_type::float32, false, false, {}, random);
  const tern::cuda::linear<tern::i2> layer{tern::cuda::device_matrix<tern::i2>(w)};
  const tern::cuda::device_bytes memory(1 << 16), workspace(layer.workspace_bytes(2));
  const auto run = [&](std::size_t tokens, std::size_t inputs, std::size_t outputs, std::size_t from = 0) {
    layer(tern::matrix_view<const float>(memory.as<float>(), tokens, inputs),
          tern::matrix_view<float>(memory.as<float>(1 << 15), tokens, outputs),
          std::span<std::byte>(workspace).subspan(from));
  };
  tern_test::check(cudaMemset(memory.data(), 0, memory.size()));
  run(2, 64, 20);
  CHECK_THROWS_WITH(run(2, 63, 20), tern_test::contains("x is 2x63 but the layer takes 64 inputs"));
  CHECK_THROWS_WITH(run(2, 64, 19), tern_test::contains("y is 2x19 but x W^T is 2x20"));
  CHECK_THROWS_WITH(run(3, 64, 20), tern_test::contains("need a workspace of"));
  CHECK_THROWS_WITH(run(1, 64, 20, 8), tern_test::contains("aligned to 64 bytes"));
  CHECK_THROWS_WITH(tern::cuda::linear<tern::i2>(tern::cuda::device_matrix<tern::i2>(w), std::vector<float>(19)),
                    tern_test::contains("19 biases for 20 outputs"));
  tern_test::check(cudaDeviceSynchronize());
}
