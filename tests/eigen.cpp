// SPDX-License-Identifier: MIT
#include <tern/eigen.hpp>
#include <tern/tern.hpp>

#include "support/catch.hpp"
#include "support/textbook.hpp"

using row_major = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using tern_test::draw_matrix;

namespace {

Eigen::MatrixXf draw_eigen(std::size_t rows, std::size_t cols, unsigned seed) {
  return tern::to_eigen(draw_matrix(rows, cols, seed));
}

const Eigen::MatrixXf W = draw_eigen(19, 35, 1), X = draw_eigen(6, 35, 2);
const Eigen::VectorXf B = draw_eigen(19, 1, 3);
const tern::bit_linear layer = tern::bit_linear::from_float(W, B);
/// What the layer gives for X without Eigen.
const row_major Y = [] {
  const auto y = layer(draw_matrix(6, 35, 2));
  return row_major(tern::to_eigen(y));
}();

template <class T>
auto* pointer(const tern::matrix_view<T>& m) {
  return m.data();
}

}  // namespace

TEST_CASE("eigen: row-major matrices, maps, blocks and references are viewed in place", "[eigen]") {
  row_major m = X;
  const auto whole = tern::view(m);
  static_assert(std::is_same_v<decltype(whole), const tern::matrix_view<float>>);
  CHECK(whole.data() == m.data());
  CHECK(whole.rows() == 6);
  CHECK(whole.cols() == 35);
  CHECK(whole(5, 34) == X(5, 34));

  auto block = m.block(1, 2, 3, 4);
  const auto part = tern::view(block);
  CHECK(part.data() == &m(1, 2));
  CHECK(part.row_stride() == 35);
  CHECK(part.rows() == 3);
  CHECK(part(2, 3) == X(3, 5));

  Eigen::Map<row_major, 0, Eigen::OuterStride<>> map(m.data(), 2, 10, Eigen::OuterStride<>(70));
  CHECK(tern::view(map)(1, 9) == X(2, 9));
  Eigen::Ref<row_major> reference(m);
  CHECK(tern::view(reference).data() == m.data());
  // The transpose of a column-major matrix lies in rows.
  Eigen::MatrixXf column_major = X;
  auto transposed = column_major.transpose();
  CHECK(tern::view(transposed)(34, 5) == X(5, 34));

  Eigen::VectorXf v = B;
  CHECK(tern::view(v).rows() == 1);
  CHECK(tern::view(v).cols() == 19);
  Eigen::Matrix<float, 2, 3, Eigen::RowMajor> fixed;
  CHECK(tern::view(fixed).row_stride() == 3);
}

TEST_CASE("eigen: half, bfloat16 and integers are tern's, bit for bit", "[eigen]") {
  Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> h = X.cast<Eigen::half>();
  const auto view = tern::view(h);
  static_assert(std::is_same_v<decltype(view), const tern::matrix_view<tern::half>>);
  std::size_t wrong = 0;
  for (Eigen::Index m = 0; m < 6; ++m)
    for (Eigen::Index k = 0; k < 35; ++k) {
      const auto row = static_cast<std::size_t>(m), col = static_cast<std::size_t>(k);
      wrong += static_cast<float>(view(row, col)) != static_cast<float>(h(m, k));
      wrong += tern::half(X(m, k)).bits != view(row, col).bits;  // Eigen rounds as tern does
    }
  CHECK(wrong == 0);
  Eigen::Matrix<Eigen::bfloat16, 1, Eigen::Dynamic> b = X.row(0).cast<Eigen::bfloat16>();
  CHECK(tern::view(b)(0, 3).bits == tern::bfloat16(X(0, 3)).bits);
  Eigen::Matrix<int, 2, 2, Eigen::RowMajor> integers;
  static_assert(std::is_same_v<decltype(tern::view(integers)), tern::matrix_view<std::int32_t>>);
}

TEST_CASE("eigen: whatever the order or expression, a layer gives the same", "[eigen]") {
  const row_major rows = X;
  CHECK(layer(X) == Y);
  CHECK(layer(rows) == Y);
  CHECK(layer(rows.block(0, 0, 6, 35)) == Y);
  CHECK(layer(X + Eigen::MatrixXf::Zero(6, 35)) == Y);
  CHECK(layer(X.array()) == Y);
  CHECK(layer(Eigen::ArrayXXf(X)) == Y);
  CHECK(layer(Eigen::MatrixXf(X.transpose()).transpose()) == Y);
  CHECK(layer(row_major(X.transpose()).transpose()) == Y);
  CHECK(layer(Eigen::Ref<const Eigen::MatrixXf>(X)) == Y);
  CHECK(layer(Eigen::Ref<const row_major>(rows)) == Y);
  CHECK(layer(Eigen::Map<const Eigen::MatrixXf>(X.data(), 6, 35)) == Y);
  CHECK(layer(Eigen::Map<const row_major>(rows.data(), 6, 35)) == Y);
  CHECK(layer(X.topRows(2)) == Y.topRows(2));
  CHECK(layer(rows.bottomRows(2)) == Y.bottomRows(2));
  CHECK(layer(X.topRows(0)).rows() == 0);
  // Elements of a row that are not neighbours are copied.
  row_major wide(6, 70);
  for (Eigen::Index k = 0; k < 35; ++k) wide.col(2 * k) = X.col(k);
  CHECK(layer(Eigen::Map<const row_major, 0, Eigen::Stride<Eigen::Dynamic, 2>>(wide.data(), 6, 35, {70, 2})) == Y);

  const Eigen::MatrixXf y = layer(X);  // as the documentation says
  CHECK(y == Y);
}

TEST_CASE("eigen: a vector in gives a vector out", "[eigen]") {
  const Eigen::VectorXf column = X.row(2);
  const Eigen::RowVectorXf row = X.row(2);
  const auto y = layer(column);
  static_assert(std::is_same_v<decltype(layer(column)), Eigen::VectorXf>);
  static_assert(std::is_same_v<decltype(layer(row)), Eigen::RowVectorXf>);
  CHECK(y.size() == 19);
  CHECK(y.transpose() == Y.row(2));
  CHECK(layer(row) == Y.row(2));
  CHECK(layer(X.row(2)) == Y.row(2));                          // apart in memory
  CHECK(layer(X.row(2).transpose()).transpose() == Y.row(2));  // apart in memory, a column
  CHECK(layer(row_major(X).row(2)) == Y.row(2));
  CHECK(layer(row_major(X.transpose()).col(2)).transpose() == Y.row(2));
  CHECK(layer((column + Eigen::VectorXf::Zero(35)).eval()).transpose() == Y.row(2));
  CHECK(layer(column + Eigen::VectorXf::Zero(35)).transpose() == Y.row(2));
  CHECK(layer(Eigen::Matrix<float, 35, 1>(column)).transpose() == Y.row(2));
}

TEST_CASE("eigen: layers write into blocks of the caller's matrices", "[eigen]") {
  tern::aligned_bytes workspace(layer.workspace_bytes(6));
  row_major big = row_major::Constant(8, 25, -7.0f);
  layer(X, big.block(1, 3, 6, 19), workspace);
  row_major expected = row_major::Constant(8, 25, -7.0f);
  expected.block(1, 3, 6, 19) = Y;
  CHECK(big == expected);

  Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> h(6, 19);
  layer(X, h, workspace);
  CHECK(h.cast<float>() == Y.cast<Eigen::half>().cast<float>());
  Eigen::VectorXf y(19);
  layer(Eigen::VectorXf(X.row(4)), y, workspace);
  CHECK(y.transpose() == Y.row(4));
}

TEST_CASE("eigen: half activations", "[eigen]") {
  const Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic> h = X.cast<Eigen::half>();
  const Eigen::MatrixXf wide = h.cast<float>();
  CHECK(layer(h) == layer(wide));
}

TEST_CASE("eigen: weights and biases of any order", "[eigen]") {
  const row_major rows = W;
  const auto codes = [](const auto& l) { return unpack(l.weights()).codes; };
  const auto same_layer = [&](const tern::bit_linear& other) {
    return codes(other) == codes(layer) && std::equal(B.begin(), B.end(), other.bias().begin(), other.bias().end());
  };
  CHECK(same_layer(tern::bit_linear::from_float(rows, B)));
  CHECK(same_layer(tern::bit_linear::from_float(W, Eigen::RowVectorXf(B.transpose()))));
  CHECK(same_layer(tern::bit_linear::from_float(W, std::vector<float>(B.begin(), B.end()))));
  CHECK(same_layer(tern::bit_linear::from_float(W * 1.0f, B)));
  CHECK(tern::bit_linear::from_float(W).bias().empty());
}

TEST_CASE("eigen: quantizers and measures take Eigen's matrices", "[eigen]") {
  const row_major rows = W;
  const auto plain = draw_matrix(19, 35, 1);
  CHECK(tern::quantize_absmean(W).codes == tern::quantize_absmean(plain).codes);
  CHECK(tern::quantize_absmax(rows).codes == tern::quantize_absmax(plain).codes);
  CHECK(tern::quantize_zero_point(W).zeros == tern::quantize_zero_point(plain).zeros);
  const auto q = tern::decompose(W, {.planes = 2});
  CHECK(q.codes == tern::decompose(plain, {.planes = 2}).codes);
  CHECK(tern::distortion(W, tern::dequantize(q)).mse == tern::distortion(plain, tern::dequantize(q)).mse);
  CHECK(tern::distortion(W, tern::to_eigen(tern::dequantize(q))).mse ==
        tern::distortion(plain, tern::dequantize(q)).mse);
  CHECK(tern::to_eigen(tern::fake_quantize_absmean(W)) == tern::to_eigen(tern::fake_quantize_absmean(plain)));
  CHECK(tern::ste_backward(W) == W);
  CHECK(tern::ste_backward_clipped(W, W, 0.5f)(0, 0) == (std::fabs(W(0, 0)) <= 0.5f ? W(0, 0) : 0.0f));
}

/// BitLinear with float activations: x float, gamma [out] or [1, out], a 1-D x gives a 1-D y.
TEST_CASE("eigen: gamma as a vector, as a row, as a matrix of one row", "[eigen]") {
  using codes_type = Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  codes_type trits(2, 3);
  trits << 1, 0, -1, 1, 1, 1;
  const auto with = [&](const auto& gamma) {
    const tern::ternary_matrix<> w(tern::quantized_matrix::from_codes(
        tern::view(trits), std::span(gamma.data(), static_cast<std::size_t>(gamma.size()))));
    Eigen::RowVectorXf y(2);
    tern::matmul(Eigen::RowVectorXf(Eigen::RowVector3f(1, 2, 3)), w, y, std::vector<float>{10, 20});
    return y;
  };
  Eigen::VectorXf gamma(2);
  gamma << 0.5f, 2;
  const Eigen::RowVector2f expected(0.5f * (1 - 3) + 10, 2.0f * 6 + 20);
  CHECK(with(gamma) == expected);
  CHECK(with(Eigen::RowVectorXf(gamma)) == expected);
  CHECK(with(Eigen::MatrixXf(gamma.transpose())) == expected);
  CHECK(with(std::vector<float>{0.5f, 2}) == expected);
}

TEST_CASE("eigen: sums in an integer matrix", "[eigen]") {
  const auto q = tern::quantize_activations(X);
  Eigen::Matrix<int, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> sums(6, 19);
  tern::matmul(q, layer.weights(), sums);
  const auto w = unpack(layer.weights());
  std::int32_t sum = 0;
  for (std::size_t k = 0; k < 35; ++k) sum += q.code(5, k) * w.code_row(0, 18)[k];
  CHECK(sums(5, 18) == sum);
}

TEST_CASE("eigen: owners of tern as Eigen's", "[eigen]") {
  const tern::matrix<float> m(2, 3, {1, 2, 3, 4, 5, 6});
  const Eigen::MatrixXf e = tern::to_eigen(m);
  CHECK(e.rows() == 2);
  CHECK(e(1, 0) == 4);
  CHECK(tern::to_eigen(tern::matrix<float>(0, 3)).cols() == 3);
}
