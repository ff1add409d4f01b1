// SPDX-License-Identifier: MIT
#include <tern/eigen.hpp>
#include <tern/llm_int8_linear.hpp>
#include <tern/quantize/distortion.hpp>

#include <limits>
#include <thread>

#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern_test::draw_matrix;
using tern_test::same;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

std::vector<float> draw_vector(std::size_t size, unsigned seed) {
  const auto m = draw_matrix(1, size, seed);
  return {m.data(), m.data() + size};
}

/// Gaussian tokens in which some columns are 40 times larger.
tern::matrix<float> draw_tokens(std::size_t tokens, std::size_t inputs, const std::vector<std::size_t>& large,
                                unsigned seed) {
  auto x = draw_matrix(tokens, inputs, seed);
  for (std::size_t m = 0; m < tokens; ++m)
    for (const std::size_t k : large)
      if (k < inputs) x(m, k) = 40 * x(m, k) + 7;
  return x;
}

/// The expression in the documentation of llm_int8_linear, element by element.
tern::matrix<float> textbook(const tern::llm_int8_linear& layer, const tern::matrix<float>& x) {
  const tern::quantized_matrix w = unpack(layer.weights()), rest_of_w = unpack(layer.remainder());
  std::vector<bool> outlier(x.cols());
  for (std::size_t k = 0; k < x.cols(); ++k)
    for (std::size_t m = 0; m < x.rows(); ++m) outlier[k] = outlier[k] || std::fabs(x(m, k)) >= layer.threshold();
  auto rest = x;
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t k = 0; k < x.cols(); ++k)
      if (outlier[k]) rest(m, k) = 0;
  auto y = tern_test::textbook_layer(w, {layer.bias().begin(), layer.bias().end()}, rest);
  if (std::find(outlier.begin(), outlier.end(), true) == outlier.end()) return y;
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t n = 0; n < w.rows; ++n) {
      const auto sum_of = [&](const tern::quantized_matrix& q) {
        float sum = 0;
        for (std::size_t k = 0; k < x.cols(); ++k)
          if (outlier[k]) sum = std::fma(x(m, k), static_cast<float>(q.code_row(0, n)[k]), sum);
        return sum;
      };
      float o = tern::detail::mul_rn(sum_of(w), w.scale(0, n, 0));  // no fma
      if (rest_of_w.cols != 0) o = std::fma(sum_of(rest_of_w), rest_of_w.scale(0, n, 0), o);
      y(m, n) = y(m, n) + o;
    }
  return y;
}

/// Runs the parts last to first, on two threads.
struct backwards_executor {
  std::size_t concurrency() const { return 3; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    std::jthread other([&] {
      for (std::size_t i = n; i-- > n / 2;) f(i);
    });
    for (std::size_t i = n / 2; i-- > 0;) f(i);
  }
};

template <class... Tags, class F>
void for_each_isa(tern::type_list<Tags...>, F f) {
  ((Tags::usable() ? f(Tags{}) : void()), ...);
}

}  // namespace

TEST_CASE("llm_int8_linear: as its documentation says", "[llm_int8]") {
  const std::size_t outputs = GENERATE(as<std::size_t>(), 0, 1, 16, 37),
                    inputs = GENERATE(as<std::size_t>(), 0, 1, 20, 133);
  const auto bias = GENERATE(true, false) ? draw_vector(outputs, 2) : std::vector<float>();
  const auto layer = tern::llm_int8_linear::from_float(draw_matrix(outputs, inputs, 1), bias);
  CHECK(layer.in_features() == inputs);
  CHECK(layer.out_features() == outputs);
  CHECK(layer.threshold() == 6.0f);
  for (const std::size_t tokens : std::vector<std::size_t>{0, 1, 2, 67}) {
    const auto x = draw_tokens(tokens, inputs, {0, 3, 5, 6, 17, 64, 132}, 3);
    CHECK(same(layer(x), textbook(layer, x)));
  }
}

TEST_CASE("llm_int8_linear: weights of 16 bits for outliers", "[llm_int8]") {
  const auto scales = GENERATE(tern::scale_type::float32, tern::scale_type::float16, tern::scale_type::bfloat16);
  const auto w = draw_matrix(37, 133, 31);
  const auto bias = draw_vector(37, 32);
  const auto layer = tern::llm_int8_linear::from_float(w, bias, {.outlier_bits = 16}, {.scales = scales});
  const auto narrow = tern::llm_int8_linear::from_float(w, bias, {}, {.scales = scales});
  CHECK(narrow.remainder().cols() == 0);
  // What is beside the codes: W less what these stand for, in int8 again.
  const auto codes = unpack(layer.weights());
  tern::matrix<float> rest(37, 133);
  for (std::size_t n = 0; n < 37; ++n)
    for (std::size_t k = 0; k < 133; ++k)
      rest(n, k) = static_cast<float>(static_cast<double>(w(n, k)) -
                                      codes.code_row(0, n)[k] * static_cast<double>(codes.scale(0, n, 0)));
  CHECK(same(tern::dequantize(layer.remainder()), tern::dequantize(tern::quantize_absmax(rest))));
  for (const std::size_t tokens : std::vector<std::size_t>{0, 1, 2, 67}) {
    const auto x = draw_tokens(tokens, 133, {0, 3, 5, 6, 17, 64, 132}, 33);
    CHECK(same(layer(x), textbook(layer, x)));
    CHECK(same(layer(x), narrow(x)) == (tokens == 0));
    const auto quiet = draw_tokens(tokens, 133, {}, 34);
    CHECK(same(layer(quiet), narrow(quiet)));
  }
  CHECK_THROWS_WITH(tern::llm_int8_linear::from_float(w, bias, {.outlier_bits = 12}),
                    "llm_int8_linear: 8 or 16 bits for outliers, not 12");
  // From its parts.
  const auto x = draw_tokens(3, 133, {0, 64}, 35);
  CHECK(same(tern::llm_int8_linear(layer.weights(), bias, {.outlier_bits = 16}, layer.remainder())(x), layer(x)));
  const auto made = [&](unsigned bits, tern::int8_matrix remainder) {
    return tern::llm_int8_linear(layer.weights(), bias, {.outlier_bits = bits}, std::move(remainder));
  };
  CHECK_THROWS_AS(made(16, {}), tern::shape_error);
  CHECK_THROWS_AS(made(8, layer.remainder()), tern::shape_error);
  CHECK_THROWS_AS(made(12, layer.remainder()), tern::range_error);
  CHECK_THROWS_WITH(made(16, tern::int8_matrix(tern::quantize_absmax(draw_matrix(36, 133, 1)))),
                    "llm_int8_linear: a remainder of 36x133 beside weights of 37x133 with 16 bits for outliers");
  CHECK_THROWS_AS(made(16, tern::int8_matrix(tern::quantize_absmax(draw_matrix(37, 132, 1)))), tern::shape_error);
  CHECK_THROWS_AS(made(16, tern::int8_matrix(tern::quantize_absmax(w, tern::per_group(16)))), tern::range_error);
  CHECK_THROWS_AS(made(16, tern::int8_matrix(tern::quantize_zero_point(w))), tern::range_error);
}

TEST_CASE("llm_int8_linear: every instruction set and executor, the same bits", "[llm_int8]") {
  const auto bias = draw_vector(53, 5);
  const auto layer = tern::llm_int8_linear::from_float(draw_matrix(53, 200, 4), bias);
  const auto x = draw_tokens(9, 200, {0, 1, 2, 3, 4, 77, 130, 199}, 6);
  const auto want = textbook(layer, x);
  std::size_t ran = 0;
  for_each_isa(tern::isa::all{}, [&](auto isa) {
    ++ran;
    INFO(isa.name());
    const auto check = [&](const auto& executor) {
      tern::matrix<float> y(9, 53);
      tern::detail::llm_int8_product(isa, x.view(), layer.weights().view(), bias, layer.threshold(), y.view(),
                                     executor);
      CHECK(same(y, want));
    };
    check(tern::serial_executor{});
    check(backwards_executor{});
  });
  CHECK(ran >= 1);
  tern::matrix<float> y(9, 53);
  layer(x, y, backwards_executor{});
  CHECK(same(y, want));
}

TEST_CASE("llm_int8_linear: without outliers it is int8_linear", "[llm_int8]") {
  const auto w = draw_matrix(21, 70, 7), x = draw_matrix(5, 70, 8);
  const auto bias = draw_vector(21, 9);
  const auto want = tern::int8_linear::from_float(w, bias)(x);
  CHECK(tern::outlier_columns(x, 6.0f).empty());
  CHECK(same(tern::llm_int8_linear::from_float(w, bias)(x), want));
  CHECK(same(tern::llm_int8_linear::from_float(w, bias, {.threshold = infinity})(draw_tokens(5, 70, {3}, 8)),
             tern::int8_linear::from_float(w, bias)(draw_tokens(5, 70, {3}, 8))));
  // Also the sign of a zero: a negative product that underflows.
  const tern::matrix<float> tiny(1, 1, {0x1p-90f}), negative(1, 1, {-0x1p-90f});
  CHECK(std::signbit(tern::int8_linear::from_float(negative)(tiny)(0, 0)));
  CHECK(std::signbit(tern::llm_int8_linear::from_float(negative)(tiny)(0, 0)));
}

TEST_CASE("llm_int8_linear: scales stored in 16 bits", "[llm_int8]") {
  const auto w = draw_matrix(18, 40, 29), x = draw_tokens(4, 40, {1, 8}, 30);
  const auto bias = draw_vector(18, 31);
  const auto layer = tern::llm_int8_linear::from_float(w, bias, {}, {.scales = tern::scale_type::float16});
  CHECK(layer.weights().format().scales == tern::scale_type::float16);
  const tern::llm_int8_linear want(tern::int8_matrix(tern::quantize_absmax(w), {.scales = tern::scale_type::float16}),
                                   bias);
  CHECK(same(layer(x), want(x)));
  CHECK(same(layer(x), textbook(layer, x)));
  CHECK(!same(layer(x), tern::llm_int8_linear::from_float(w, bias)(x)));
}

TEST_CASE("llm_int8_linear: every column an outlier", "[llm_int8]") {
  const auto bias = draw_vector(19, 11);
  const auto layer = tern::llm_int8_linear::from_float(draw_matrix(19, 50, 10), bias, {.threshold = 0});
  const auto x = draw_matrix(4, 50, 12);
  CHECK(tern::outlier_columns(x, 0).size() == 50);
  const auto y = layer(x), by_matmul = [&] {
    tern::matrix<float> product(4, 19);
    tern::matmul(x, layer.weights(), product);
    for (std::size_t m = 0; m < 4; ++m)
      for (std::size_t n = 0; n < 19; ++n) product(m, n) = bias[n] + product(m, n);
    return product;
  }();
  CHECK(same(y, by_matmul));
}

TEST_CASE("llm_int8_linear: by hand", "[llm_int8]") {
  // Column 1 reaches the threshold in the second token, and so leaves the first token's maximum too.
  const tern::matrix<float> w(1, 3, {127, -2, 64}), x(2, 3, {127, 5, -1, 0, 6, 0});
  const auto layer = tern::llm_int8_linear::from_float(w, std::vector<float>{1});
  CHECK(tern::outlier_columns(x, 6) == std::vector<std::size_t>{0, 1});
  const auto y = layer(x);
  CHECK(y(0, 0) == -64 + 1 + (127 * 127 - 2 * 5));
  CHECK(y(1, 0) == 1 - 12);  // nothing but an outlier
  // Alone, the second token has column 1 as its outlier only: a token depends on its neighbours.
  CHECK(tern::outlier_columns(tern::matrix_view<const float>(x.row(1), 1, 3), 6) == std::vector<std::size_t>{1});
}

TEST_CASE("llm_int8_linear: beats int8 where columns stand out", "[llm_int8]") {
  const auto w = draw_matrix(64, 256, 13), x = draw_tokens(32, 256, {5, 100}, 14);
  tern::matrix<float> exact(32, 64);
  for (std::size_t m = 0; m < 32; ++m)
    for (std::size_t n = 0; n < 64; ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < 256; ++k) sum += double(x(m, k)) * double(w(n, k));
      exact(m, n) = static_cast<float>(sum);
    }
  // What the outliers cost is the error of x; the weights of both layers are the same.
  const auto with = tern::distortion(exact, tern::llm_int8_linear::from_float(w)(x));
  const auto without = tern::distortion(exact, tern::int8_linear::from_float(w)(x));
  CHECK(with.snr_db > without.snr_db + 4);
  const auto dequantised = tern::dequantize(tern::llm_int8_linear::from_float(w).weights());
  for (std::size_t m = 0; m < 32; ++m)
    for (std::size_t n = 0; n < 64; ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < 256; ++k) sum += double(x(m, k)) * double(dequantised(n, k));
      exact(m, n) = static_cast<float>(sum);
    }
  CHECK(tern::distortion(exact, tern::llm_int8_linear::from_float(w)(x)).snr_db >
        tern::distortion(exact, tern::int8_linear::from_float(w)(x)).snr_db + 20);
}

TEST_CASE("llm_int8_linear: half and bfloat16, in and out", "[llm_int8]") {
  const auto layer = tern::llm_int8_linear::from_float(draw_matrix(19, 33, 15), draw_vector(19, 16));
  const auto check = [&](auto zero, const std::vector<std::size_t>& large) {
    using type = decltype(zero);
    tern::matrix<type> x(3, 33), y(3, 19);
    tern::matrix<float> wide(3, 33);
    const auto values = draw_tokens(3, 33, large, 17);
    for (std::size_t i = 0; i < 99; ++i) {
      x.data()[i] = type(values.data()[i]);
      wide.data()[i] = x.data()[i];
    }
    layer(x, y);
    const auto want = textbook(layer, wide);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < 3 * 19; ++i) wrong += y.data()[i].bits != type(want.data()[i]).bits;
    CHECK(wrong == 0);
    CHECK(same(layer(x), want));
  };
  for (const auto& large : {std::vector<std::size_t>{}, std::vector<std::size_t>{2, 30}}) {
    check(tern::half{}, large);
    check(tern::bfloat16{}, large);
  }
}

TEST_CASE("llm_int8_linear: Eigen in and out, and one scale for the tensor stored in 16 bits", "[llm_int8]") {
  const auto x = draw_tokens(4, 40, {1, 8}, 18);
  const auto layer = tern::llm_int8_linear::from_float(tern::to_eigen(draw_matrix(18, 40, 19)),
                                                       Eigen::VectorXf(Eigen::VectorXf::Ones(18)));
  const Eigen::MatrixXf y = layer(tern::to_eigen(x));
  const auto want = textbook(layer, x);
  CHECK(y == tern::to_eigen(want));

  const auto w = tern::quantize_absmax(draw_matrix(18, 40, 20), tern::per_tensor);
  const tern::llm_int8_linear shared(tern::int8_matrix(w, {.scales = tern::scale_type::bfloat16}));
  CHECK(same(shared(x), textbook(shared, x)));
}

TEST_CASE("llm_int8_linear: rows of x and y apart in memory, nothing written between them", "[llm_int8]") {
  const auto layer = tern::llm_int8_linear::from_float(draw_matrix(17, 30, 21));
  const auto padded = draw_tokens(4, 41, {4, 9}, 22);
  const tern::matrix_view<const float> x(padded.data() + 1, 4, 30, 41);
  tern::matrix<float> dense(4, 30);
  for (std::size_t m = 0; m < 4; ++m) std::copy(x.row(m), x.row(m) + 30, dense.row(m));
  constexpr float canary = -12345.0f;
  std::vector<float> memory(4 * 23 + 3, canary);
  layer(x, tern::matrix_view<float>(memory.data() + 3, 4, 17, 23));
  const auto want = textbook(layer, dense);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    const std::size_t m = (i - 3) / 23, n = (i - 3) % 23;
    wrong += memory[i] != (i >= 3 && n < 17 ? want(m, n) : canary);
  }
  CHECK(wrong == 0);
}

TEST_CASE("llm_int8_linear: layers that cannot be", "[llm_int8]") {
  const auto w = draw_matrix(5, 32, 23);
  const std::vector<float> none;
  for (const float bad : {-1.0f, -infinity, not_a_number})
    CHECK_THROWS_AS(tern::llm_int8_linear::from_float(w, none, {.threshold = bad}), tern::range_error);
  CHECK_THROWS_WITH(tern::llm_int8_linear::from_float(w, none, {.threshold = -1}),
                    "llm_int8_linear: the threshold -1 is not >= 0");
  CHECK_THROWS_WITH(tern::llm_int8_linear::from_float(w, std::vector<float>(4)),
                    "llm_int8_linear: 4 biases for 5 outputs");
  CHECK_THROWS_AS(tern::llm_int8_linear(tern::int8_matrix(tern::quantize_zero_point(w))), tern::range_error);
  CHECK_THROWS_AS(tern::llm_int8_linear(tern::int8_matrix(tern::quantize_absmax(w, tern::per_group(16)))),
                  tern::range_error);
}

TEST_CASE("llm_int8_linear: whatever is wrong, y is untouched", "[llm_int8]") {
  const auto layer = tern::llm_int8_linear::from_float(draw_matrix(6, 40, 24));
  auto x = draw_tokens(3, 40, {2}, 25);
  tern::matrix<float> y(3, 6, std::vector<float>(18, 7.0f));
  SECTION("depth") {
    CHECK_THROWS_AS(layer(draw_matrix(3, 39, 26), y), tern::shape_error);
    CHECK_THROWS_WITH(layer(draw_matrix(3, 39, 26), y), "llm_int8_linear: x is 3x39 but the layer takes 40 inputs");
  }
  SECTION("y") {
    CHECK_THROWS_AS(layer(x, tern::matrix_view<float>(y.data(), 2, 6)), tern::shape_error);
    CHECK_THROWS_WITH(layer(x, tern::matrix_view<float>(y.data(), 3, 5)), "llm_int8_linear: y is 3x5 but x W^T is 3x6");
  }
  SECTION("a value that is not finite, which is no outlier") {
    x(2, 39) = GENERATE(as<float>(), infinity, not_a_number);
    CHECK_THROWS_AS(layer(x, y), tern::range_error);
    CHECK_THROWS_WITH(layer(x, y), tern_test::contains("row 2, column 39"));
  }
  CHECK(std::count(y.data(), y.data() + 18, 7.0f) == 18);
}

TEST_CASE("llm_int8_linear: too many inputs", "[llm_int8]") {
  const tern::llm_int8_linear layer(tern::int8_matrix(tern::quantized_matrix(1, 1, 131072, tern::per_channel)));
  tern::matrix<float> x(1, 131072), y(1, 1, {7});
  x(0, 5) = 10;
  CHECK_THROWS_AS(layer(x, y), tern::range_error);
  CHECK(y(0, 0) == 7);
}

TEST_CASE("llm_int8_linear: copies and a layer that was never given weights", "[llm_int8]") {
  auto layer = tern::llm_int8_linear::from_float(draw_matrix(6, 40, 27), draw_vector(6, 28), {.threshold = 3});
  const auto x = draw_matrix(2, 40, 29);
  const auto want = layer(x);
  const auto copy = layer;
  layer = tern::llm_int8_linear();
  CHECK(same(copy(x), want));
  CHECK(layer.in_features() == 0);
  CHECK(layer(tern::matrix<float>(3, 0)).rows() == 3);
}

TEST_CASE("outlier_columns: at the threshold, ascending, errors", "[llm_int8]") {
  const tern::matrix<float> x(2, 4, {6, 5.9f, 0, -7, 0, -5.9f, 0, 1});
  CHECK(tern::outlier_columns(x, 6) == std::vector<std::size_t>{0, 3});
  CHECK(tern::outlier_columns(tern::matrix<float>(0, 4), 0).empty());
  CHECK_THROWS_AS(tern::outlier_columns(x, not_a_number), tern::range_error);
  CHECK_THROWS_WITH(tern::outlier_columns(x, -2), "outlier_columns: the threshold -2 is not >= 0");
}
