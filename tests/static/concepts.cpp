// SPDX-License-Identifier: MIT
/// What the concepts take and what they refuse.
#include <tern/eigen.hpp>
#include <tern/tern.hpp>

#include "hostile.hpp"

namespace {

struct no_decode : tern::i2 {
  void decode() = delete;
};
struct wrong_byte : tern::i2 {
  int encode(const std::int8_t*) const;
};
static_assert(tern::codec<tern::i2> && tern::codec<hostile::codec>);
static_assert(!tern::codec<int> && !tern::codec<no_decode> && !tern::codec<wrong_byte>);

struct no_name {
  static bool usable();
};
struct with_state : tern::isa::scalar {
  int state;
};
static_assert(tern::isa_tag<tern::isa::scalar> && tern::isa_tag<foreign::isa>);
static_assert(!tern::isa_tag<no_name> && !tern::isa_tag<with_state> && !tern::isa_tag<int>);

struct not_const {
  std::size_t concurrency() const;
  void parallel_for(std::size_t, void (*)(std::size_t));
};
static_assert(tern::executor<tern::serial_executor> && !tern::executor<not_const>);

static_assert(tern::real_matrix<tern::matrix<float>> && tern::real_matrix<tern::matrix_view<const tern::half>>);
static_assert(tern::real_matrix<Eigen::MatrixXf> && tern::real_matrix<Eigen::VectorX<Eigen::bfloat16>>);
static_assert(tern::real_matrix<decltype(Eigen::MatrixXf() + Eigen::MatrixXf())>);
static_assert(!tern::real_matrix<Eigen::MatrixXd> && !tern::real_matrix<Eigen::MatrixXi>);
static_assert(!tern::real_matrix<std::vector<float>> && !tern::real_matrix<tern::matrix<std::int8_t>>);

static_assert(tern::output_matrix<tern::matrix_view<std::int32_t>> &&
              tern::output_matrix<tern::matrix<tern::bfloat16>&>);
static_assert(!tern::output_matrix<tern::matrix<double>> && !tern::output_matrix<Eigen::MatrixXd>);

static_assert(std::is_trivially_copyable_v<tern::half> && sizeof(tern::half) == 2 && sizeof(tern::bfloat16) == 2);
static_assert(!std::is_convertible_v<float, tern::half>, "narrowing is asked for");
static_assert(std::is_nothrow_move_constructible_v<tern::bit_linear> &&
              std::is_nothrow_move_constructible_v<tern::quantized_activations>);

// Layers of one type, whoever made them: they pass between translation units with other flags.
static_assert(std::is_same_v<tern::bit_linear, tern::linear<tern::ternary_matrix<tern::i2>>>);

}  // namespace
