// SPDX-License-Identifier: MIT
#include <tern/quantize/corrected_weights.hpp>

#include <tern/quantize/output_error.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/backward_executor.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern_test::backward_executor;
using tern_test::contains;

namespace {

/// Inputs in the float model, correlated, and the same tokens' inputs behind layers that were quantised.
struct observed {
  tern::matrix<float> x, y;
  tern::cross_moment c;
  tern::hessian h;

  observed(std::size_t tokens, std::size_t inputs, float error)
      : x(tern_test::draw_matrix(tokens, inputs, 1)),
        y(tern_test::draw_matrix(tokens, inputs, 2)),
        c(inputs),
        h(inputs) {
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t k = 0; k < inputs; ++k) {
        if (k > 0) x(t, k) += 0.8f * x(t, k - 1);
        y(t, k) = x(t, k) * (1 - error * error) + error * y(t, k);
      }
    c.observe(x, y);
    h.observe(y);
  }
};

/// |X W^T - Y V^T|^2 / T
double cost(const observed& o, const tern::matrix<float>& w, const tern::matrix<float>& v) {
  double sum = 0;
  for (std::size_t t = 0; t < o.x.rows(); ++t)
    for (std::size_t n = 0; n < w.rows(); ++n) {
      double error = 0;
      for (std::size_t k = 0; k < w.cols(); ++k)
        error += static_cast<double>(o.x(t, k)) * static_cast<double>(w(n, k)) -
                 static_cast<double>(o.y(t, k)) * static_cast<double>(v(n, k));
      sum += error * error;
    }
  return sum / static_cast<double>(o.x.rows());
}

/// The equations as one would write them down, one number after the other, each complete one rounded to float.
tern::matrix<float> textbook(const tern::matrix<float>& w, const tern::cross_moment& c, const tern::hessian& h,
                             double damp) {
  const std::size_t count = w.cols();
  double trace = 0, most = 0;
  for (std::size_t k = 0; k < count; ++k) trace += h(k, k), most = std::max(most, h(k, k));
  double unit = 1;  // a power of four that brings the largest element of H to [1/4, 1)
  while (most * unit >= 1) unit /= 4;
  while (most * unit < 0.25) unit *= 4;
  const double damping = std::fma(damp, trace / static_cast<double>(count), 0.0);  // a product, rounded for sure
  std::vector<std::vector<double>> l(count, std::vector<double>(count)), m = l;
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t j = 0; j <= i; ++j) {
      double rest = h(i, j) + (i == j ? damping : 0.0);
      for (std::size_t k = 0; k < j; ++k) rest = std::fma(-l[i][k], l[j][k], rest);
      l[i][j] = static_cast<double>(static_cast<float>(i == j ? std::sqrt(rest) : rest / l[j][j]));
    }
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t j = 0; j < i; ++j)
      m[i][j] = static_cast<double>(static_cast<float>(l[i][j]) / static_cast<float>(l[j][j]));

  tern::matrix<float> out(w.rows(), count);
  for (std::size_t n = 0; n < w.rows(); ++n) {
    std::vector<double> z(count), x(count);
    for (std::size_t j = 0; j < count; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < count; ++k)
        sum = std::fma(static_cast<double>(w(n, k)),
                       static_cast<double>(static_cast<float>((c(k, j) - h(k, j)) * unit)), sum);
      for (std::size_t k = 0; k < j; ++k) sum = std::fma(-z[k], m[j][k], sum);
      z[j] = static_cast<double>(static_cast<float>(sum));
    }
    for (std::size_t j = count; j-- > 0;) {
      double sum = z[j] / (l[j][j] * l[j][j]) / unit;
      for (std::size_t k = count; k-- > j + 1;) sum = std::fma(-x[k], m[k][j], sum);
      x[j] = static_cast<double>(static_cast<float>(sum));
      out(n, j) = static_cast<float>(static_cast<double>(w(n, j)) + x[j]);
    }
  }
  return out;
}

bool same(const tern::matrix<float>& a, const tern::matrix<float>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() && std::equal(a.data(), a.data() + a.rows() * a.cols(), b.data());
}

}  // namespace

TEST_CASE("corrected_weights: bit for bit what the equations say", "[quantize]") {
  const std::size_t inputs = GENERATE(as<std::size_t>(), 1, 5, 128, 150, 261);
  const double damp = GENERATE(0.01, 0.1);
  const observed o(400, inputs, 0.3f);
  const auto w = tern_test::draw_matrix(67, inputs, 3);
  const auto got = tern::corrected_weights(w, o.c, o.h, damp);
  CHECK(same(got, textbook(w, o.c, o.h, damp)));
  CHECK(same(got, tern::corrected_weights(w, o.c, o.h, damp, backward_executor{})));
}

TEST_CASE("corrected_weights: outputs come nearer to the float model's", "[quantize]") {
  const observed o(2000, 40, 0.3f);
  const auto w = tern_test::draw_matrix(20, 40, 4);
  const double before = cost(o, w, w);
  double last = 0;
  // Without damping they are the least squares; the more there is, the less is won.
  for (const double damp : {0.0, 0.01, 0.1, 1.0}) {
    const double after = cost(o, w, tern::corrected_weights(w, o.c, o.h, damp));
    CHECK(after < before);
    CHECK(after > last);
    last = after;
  }
  // At the least squares no weight has anywhere to go.
  const auto best = tern::corrected_weights(w, o.c, o.h, 0.0);
  for (const std::size_t k : {std::size_t{0}, std::size_t{17}, std::size_t{39}})
    for (const float step : {-0.01f, 0.01f}) {
      auto moved = best;
      moved(3, k) += step;
      CHECK(cost(o, w, moved) > cost(o, w, best));
    }
}

TEST_CASE("corrected_weights: what a quantised layer then loses is its error on the inputs it has", "[quantize]") {
  const observed o(500, 30, 0.4f);
  const auto w = tern_test::draw_matrix(8, 30, 5);
  const auto best = tern::corrected_weights(w, o.c, o.h, 0.0);
  auto q = best;
  for (std::size_t i = 0; i < 240; ++i) q.data()[i] = 0.25f * std::rint(4 * q.data()[i]);
  const double added = tern::output_distortion(best, q, o.h).noise;
  CHECK(std::fabs(cost(o, w, q) - cost(o, w, best) - added) < 1e-3 * added);
}

TEST_CASE("corrected_weights: inputs as they were move nothing, and their unit does not matter", "[quantize]") {
  const observed o(300, 50, 0.3f);
  const auto w = tern_test::draw_matrix(9, 50, 6);
  tern::cross_moment c(50);
  c.observe(o.y, o.y);
  CHECK(same(tern::corrected_weights(w, c, o.h), w));

  tern::cross_moment small_c(50);
  tern::hessian small_h(50);
  auto x = o.x, y = o.y;
  for (std::size_t i = 0; i < 300 * 50; ++i) x.data()[i] *= 0x1p-40f, y.data()[i] *= 0x1p-40f;
  small_c.observe(x, y), small_h.observe(y);
  CHECK(same(tern::corrected_weights(w, small_c, small_h), tern::corrected_weights(w, o.c, o.h)));
}

TEST_CASE("corrected_weights: what is refused", "[quantize]") {
  const observed o(100, 10, 0.3f);
  auto w = tern_test::draw_matrix(4, 10, 7);
  CHECK_THROWS_AS(tern::corrected_weights(tern::matrix<float>(4, 11), o.c, o.h), tern::shape_error);
  CHECK_THROWS_WITH(tern::corrected_weights(w, tern::cross_moment(11), o.h),
                    contains("cross moments are of 11 inputs"));
  CHECK_THROWS_WITH(tern::corrected_weights(w, o.c, tern::hessian(10)), contains("has seen no activations"));
  tern::cross_moment more = o.c;
  more.merge(o.c);
  CHECK_THROWS_WITH(tern::corrected_weights(w, more, o.h), contains("of 200 tokens but the Hessian of 100"));
  for (const double damp : {-0.1, std::numeric_limits<double>::infinity(), std::nan("")})
    CHECK_THROWS_WITH(tern::corrected_weights(w, o.c, o.h, damp), contains("damp"));
  w(3, 2) = std::nanf("");
  CHECK_THROWS_WITH(tern::corrected_weights(w, o.c, o.h), contains("row 3, column 2"));

  // An input that was never active.
  tern::hessian flat(2);
  tern::cross_moment flat_c(2);
  const tern::matrix<float> tokens(2, 2, {1.0f, 0.0f, 2.0f, 0.0f});
  flat.observe(tokens), flat_c.observe(tokens, tokens);
  const tern::matrix<float> two(1, 2, {3.0f, 4.0f});
  CHECK_THROWS_WITH(tern::corrected_weights(two, flat_c, flat, 0.0), contains("not positive definite at input 1"));
  CHECK(same(tern::corrected_weights(two, flat_c, flat), two));

  // Inputs that lost two thirds ask for weights three times as large, which are beyond float.
  tern::hessian third(1);
  tern::cross_moment third_c(1);
  const tern::matrix<float> full(1, 1, {3.0f}), left(1, 1, {1.0f}), large(1, 1, {0x1p126f}), larger(1, 1, {0x1p127f});
  third.observe(left), third_c.observe(full, left);
  CHECK(tern::corrected_weights(large, third_c, third, 0.0)(0, 0) == 3 * 0x1p126f);
  CHECK_THROWS_WITH(tern::corrected_weights(larger, third_c, third, 0.0), contains("with so little damping"));

  CHECK(tern::corrected_weights(tern::matrix<float>(0, 10), o.c, o.h).rows() == 0);
  CHECK(tern::corrected_weights(tern::matrix<float>(3, 0), tern::cross_moment(0), tern::hessian(0)).cols() == 0);
}

TEST_CASE("corrected_weights: progress ascends to the total and cancels", "[quantize]") {
  const observed o(300, 150, 0.3f);
  const auto w = tern_test::draw_matrix(130, 150, 8);
  std::vector<std::size_t> seen;
  tern::corrected_weights(w, o.c, o.h, 0.01, tern::serial_executor{}, [&](std::size_t done, std::size_t total) {
    CHECK(total == 2 + 3);  // panels of 128 inputs, strips of 64 rows
    seen.push_back(done);
    return true;
  });
  CHECK(seen == std::vector<std::size_t>{1, 2, 3, 4, 5});
  for (const std::size_t at : {std::size_t{1}, std::size_t{4}, std::size_t{5}})
    CHECK_THROWS_AS(tern::corrected_weights(w, o.c, o.h, 0.01, tern::serial_executor{},
                                            [&](std::size_t done, std::size_t) { return done != at; }),
                    tern::cancelled_error);
}
