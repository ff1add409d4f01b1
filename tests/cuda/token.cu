// SPDX-License-Identifier: MIT
// The kernel for one token == the reference, bit for bit, wherever matmul() chooses it.
#include "device.hpp"

namespace {

using tern_test::draw_activations;
using tern_test::draw_weights;

/// The product of one token by the token's kernel, which must take it or, if not `taken`, must not.
template <class Y, class Codec>
bool kernel_agrees(const tern::packed_matrix<Codec>& w, bool x_zeros, bool taken, std::mt19937& random) {
  const auto x = draw_activations(1, w.cols(), x_zeros, random);
  const std::vector<float> bias(std::same_as<Y, std::int32_t> ? 0 : w.rows(), 0.75f);
  return tern_test::run_agrees<Y>(x, w, bias,
                                  [&](const auto& on_x, const auto& on_w, const auto& y, const auto& on_bias) {
                                    auto a = tern::detail::device_product(on_x, on_w.layout(), y, on_bias);
                                    REQUIRE(tern::detail::multiply_token(a, tern::cuda::launch{}) == taken);
                                    if (!taken) tern::detail::multiply_few(a, tern::cuda::launch{});
                                  });
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("cuda products of one token by their kernel", "[cuda]", tern::codecs) {
  tern_test::require_device();
  std::mt19937 random(TestType::fold * 10 + TestType::bytes);
  const std::size_t block = tern::block_inputs<TestType>, step = 8 * block;
  for (const std::size_t cols :
       {std::size_t{1}, block + 1, step - 1, step, step + 1, 2 * step, 3 * step - block, 23 * step + 1, 24 * step})
    for (const std::size_t rows : {1, 16, 33}) {
      CAPTURE(rows, cols);
      const auto w = [&](tern::granularity granularity, tern::scale_type scales) {
        return draw_weights<TestType>(rows, cols, 1, granularity, scales, false, false, {}, random);
      };
      CHECK(kernel_agrees<std::int32_t>(w(tern::per_channel, tern::scale_type::float32), false, true, random));
      CHECK(kernel_agrees<float>(w(tern::per_channel, tern::scale_type::float16), false, true, random));
      CHECK(kernel_agrees<tern::bfloat16>(w(tern::per_tensor, tern::scale_type::bfloat16), false, true, random));
    }
  // Longer panels, more runs and zero points are others' work.
  const auto other = [&](std::size_t cols, std::size_t planes, tern::granularity granularity, bool zeros, bool sums) {
    return draw_weights<TestType>(17, cols, planes, granularity, tern::scale_type::float32, zeros, sums, {}, random);
  };
  CHECK(kernel_agrees<float>(other(24 * step + 1, 1, tern::per_channel, false, false), false, false, random));
  CHECK(kernel_agrees<float>(other(2 * step, 2, tern::per_channel, false, false), false, false, random));
  CHECK(kernel_agrees<float>(other(2 * step, 1, tern::per_group(step), false, false), false, false, random));
  CHECK(kernel_agrees<float>(other(step, 1, tern::per_channel, true, false), false, false, random));
  CHECK(kernel_agrees<float>(other(step, 1, tern::per_channel, false, true), true, false, random));
}

// The more panels, the fewer warps a block has: each then takes its steps in several turns.
TEST_CASE("cuda products of one token by many panels", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(1);
  for (const auto& [rows, cols] : {std::pair<std::size_t, std::size_t>{5000, 3072}, {16003, 2944}, {40000, 1408}}) {
    CAPTURE(rows, cols);
    CHECK(kernel_agrees<float>(
        draw_weights<tern::i2>(rows, cols, 1, tern::per_channel, tern::scale_type::float32, false, false, {}, random),
        false, true, random));
  }
}
