// SPDX-License-Identifier: MIT
#include <tern/quantize/gptq.hpp>

#include <tern/quantize/output_error.hpp>
#include <tern/quantize/synthetic.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>

#include "support/backward_executor.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::gptq_options, tern::gptq_order, tern::gptq_scales, tern::hessian, tern::weight_distribution;
using tern_test::backward_executor;
using tern_test::contains;

namespace {

/// Correlated inputs, of very different sizes.
hessian observed(std::size_t inputs, std::size_t tokens = 300, unsigned seed = 1) {
  auto x = tern_test::draw_matrix(tokens, inputs, seed);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t k = 0; k < inputs; ++k) {
      if (k > 0) x(t, k) += 0.8f * x(t, k - 1);
      if (k % 7 == 3) x(t, k) *= 4;
    }
  hessian h(inputs);
  h.observe(x);
  return h;
}

/// Which inputs are quantised first, second, ...
std::vector<std::size_t> sweep(const hessian& h, std::size_t group, bool descending) {
  std::vector<std::size_t> groups((h.inputs() + group - 1) / group), inputs;
  std::iota(groups.begin(), groups.end(), std::size_t{0});
  const auto sum = [&](std::size_t g) {
    double total = 0;
    for (std::size_t k = g * group; k < std::min(h.inputs(), (g + 1) * group); ++k) total += h(k, k);
    return total;
  };
  if (descending) std::stable_sort(groups.begin(), groups.end(), [&](auto a, auto b) { return sum(a) > sum(b); });
  for (const std::size_t g : groups) {
    std::vector<std::size_t> of_group(std::min(group, h.inputs() - g * group));
    std::iota(of_group.begin(), of_group.end(), g * group);
    if (descending)
      std::stable_sort(of_group.begin(), of_group.end(), [&](auto a, auto b) { return h(a, a) > h(b, b); });
    inputs.insert(inputs.end(), of_group.begin(), of_group.end());
  }
  return inputs;
}

/// Error feedback as one would write it down, one number after the other. fit(slice, first_input, scales) and
/// round(w, scales, codes) -> value are the quantizer of a group.
template <class Fit, class Round>
tern::quantized_matrix textbook(const tern::matrix<float>& w, const hessian& h, std::size_t planes,
                                const gptq_options& o, Fit fit, Round round) {
  const std::size_t count = w.cols();
  tern::quantized_matrix q(planes, w.rows(), count, o.granularity);
  const std::size_t group = std::min(q.group_inputs(), count);
  auto inputs = sweep(h, group, o.order == gptq_order::descending);
  // Factor from the last input of the sweep to the first.
  std::reverse(inputs.begin(), inputs.end());
  double trace = 0;
  for (std::size_t k = 0; k < count; ++k) trace += h(k, k);
  const double damp = o.damp * (trace / static_cast<double>(count));
  std::vector<std::vector<float>> l(count, std::vector<float>(count));
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t c = 0; c <= i; ++c) {
      double rest = h(inputs[i], inputs[c]) + (i == c ? damp : 0.0);
      for (std::size_t k = 0; k < c; ++k)
        rest = std::fma(-static_cast<double>(l[i][k]), static_cast<double>(l[c][k]), rest);
      l[i][c] = static_cast<float>(i == c ? std::sqrt(rest) : rest / static_cast<double>(l[c][c]));
    }
  const auto m = [&](std::size_t i, std::size_t c) { return static_cast<double>(l[i][c] / l[c][c]); };

  // Coordinate descent: H in float with the damping, in units of a power of four that brings its largest element to [1/4, 1).
  double most = 0, unit = 1;
  for (std::size_t k = 0; k < count; ++k) most = std::max(most, h(k, k));
  while (most * unit >= 1) unit /= 4;
  while (most * unit < 0.25) unit *= 4;
  const auto cost = [&](std::size_t i, std::size_t j) {
    return static_cast<double>(static_cast<float>((h(i, j) + (i == j ? damp : 0.0)) * unit));
  };
  const auto descend = [&](std::size_t n, const auto& nearest) {
    std::vector<double> value(count), rest(count), pull(count);
    for (std::size_t k = 0; k < count; ++k) {
      for (std::size_t p = 0; p < planes; ++p)
        value[k] += static_cast<double>(q.scale(p, n, k / group)) * q.code_row(p, n)[k];
      rest[k] = static_cast<double>(static_cast<float>(static_cast<double>(w(n, k)) - value[k]));
    }
    for (std::size_t j = 0; j < count; ++j)
      for (std::size_t k = 0; k < count; ++k) pull[j] = std::fma(rest[k], cost(k, j), pull[j]);
    for (std::size_t sweep = 0; sweep < o.sweeps; ++sweep)
      for (std::size_t k = 0; k < count; ++k) {
        std::vector<float> scales(planes);
        std::vector<std::int8_t> codes(planes);
        for (std::size_t p = 0; p < planes; ++p) scales[p] = q.scale(p, n, k / group);
        const double now = nearest(value[k] + pull[k] / cost(k, k), scales, codes);
        if (now == value[k]) continue;
        value[k] = now;
        const auto here = static_cast<double>(static_cast<float>(static_cast<double>(w(n, k)) - now));
        const auto moved = static_cast<double>(static_cast<float>(here - rest[k]));
        rest[k] = here;
        for (std::size_t j = 0; j < count; ++j) pull[j] = std::fma(moved, cost(k, j), pull[j]);
        for (std::size_t p = 0; p < planes; ++p) q.code_row(p, n)[k] = codes[p];
      }
  };

  for (std::size_t n = 0; n < w.rows(); ++n) {
    std::vector<float> error(count), scales(planes);
    std::vector<std::int8_t> codes(planes);
    const auto fed = [&](std::size_t c, const std::vector<float>& errors) {
      double sum = 0;
      for (std::size_t i = count; --i > c;) sum = std::fma(static_cast<double>(errors[i]), m(i, c), sum);
      return sum;
    };
    for (std::size_t c = count; c-- > 0;) {
      const std::size_t g = inputs[c] / group, first = g * group;
      if (c + 1 == count || inputs[c + 1] / group != g) {
        tern::matrix<float> slice(1, std::min(group, count - first));
        std::vector<float> none = error;
        for (std::size_t j = c + 1; j-- > c + 1 - slice.cols();) {
          const double sum = o.scales == gptq_scales::fed && group < count ? fed(j, none) : 0.0;
          none[j] = static_cast<float>(-sum);
          slice(0, inputs[j] - first) = static_cast<float>(static_cast<double>(w(n, inputs[j])) + sum);
        }
        fit(slice, first, scales);
        for (std::size_t p = 0; p < planes; ++p) q.scales[q.scale_index(p, n, g)] = scales[p];
      }
      const double weight = static_cast<double>(w(n, inputs[c]));
      const double value = round(weight + fed(c, error), scales, codes);
      error[c] = static_cast<float>(weight - value);
      for (std::size_t p = 0; p < planes; ++p) q.code_row(p, n)[inputs[c]] = codes[p];
    }
    descend(n, round);
  }
  return q;
}

/// The nearest of all c . scales, c in {-1, 0, 1}^planes; the lower one of two.
double round_to_planes(double w, const std::vector<float>& scales, std::vector<std::int8_t>& codes) {
  std::size_t combinations = 1;
  for (std::size_t p = 0; p < scales.size(); ++p) combinations *= 3;
  double best = 0, distance = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < combinations; ++i) {
    double value = 0;
    std::vector<std::int8_t> c(scales.size());
    for (std::size_t p = scales.size(), rest = i; p-- > 0; rest /= 3) c[p] = static_cast<std::int8_t>(rest % 3) - 1;
    for (std::size_t p = 0; p < scales.size(); ++p) value += static_cast<double>(scales[p]) * c[p];
    const double here = std::fabs(w - value);
    if (here < distance || (here == distance && value < best)) distance = here, best = value, codes = c;
  }
  return best;
}

void check_same(const tern::quantized_matrix& a, const tern::quantized_matrix& b) {
  CHECK(a.granularity == b.granularity);
  CHECK(a.scales == b.scales);
  CHECK(a.codes == b.codes);
}

std::span<const float> part(const std::vector<float>& all, std::size_t first, std::size_t count) {
  return all.empty() ? std::span<const float>() : std::span<const float>(all).subspan(first, count);
}

}  // namespace

TEST_CASE("gptq: planes, code for code and scale for scale as the textbook says", "[quantize]") {
  const std::size_t inputs = GENERATE(as<std::size_t>(), 1, 7, 40, 150, 300),
                    planes = GENERATE(as<std::size_t>(), 1, 2, 3);
  const auto granularity =
      GENERATE(as<tern::granularity>(), tern::per_channel, tern::per_group(16), tern::per_group(140));
  const auto w = tern::synthetic_weights(3, inputs, weight_distribution::laplace, 5);
  const auto h = observed(inputs);
  for (const auto order : {gptq_order::descending, gptq_order::natural})
    for (const auto scales : {gptq_scales::fed, gptq_scales::frozen}) {
      const bool weighted = order == gptq_order::descending;
      const gptq_options o{.granularity = granularity,
                           .damp = 0.02,
                           .order = order,
                           .scales = scales,
                           .weighted = weighted,
                           .sweeps = weighted ? 2u : 0u};
      const auto importance = weighted ? tern::importances(h) : std::vector<float>();
      const auto fit = [&](const tern::matrix<float>& slice, std::size_t first, std::vector<float>& out) {
        out = tern::decompose(slice, {.planes = planes,
                                      .method = tern::decompose_method::alternating,
                                      .importance = part(importance, first, slice.cols())})
                  .scales;
      };
      check_same(tern::gptq_decompose(w, h, planes, o), textbook(w, h, planes, o, fit, round_to_planes));
    }
}

TEST_CASE("gptq: plane codes and integers as the textbook says", "[quantize]") {
  const std::size_t inputs = GENERATE(as<std::size_t>(), 5, 64, 200);
  const auto granularity = GENERATE(as<tern::granularity>(), tern::per_channel, tern::per_group(32));
  const auto w = tern::synthetic_weights(70, inputs, weight_distribution::gauss, 6);
  const auto h = observed(inputs);
  const gptq_options o{.granularity = granularity, .sweeps = GENERATE(as<std::size_t>(), 0, 1, 4)};
  const auto importance = tern::importances(h);
  const tern::trit_code code{{9, 5, 3}};
  const auto q = tern::gptq_trit_code(w, h, {.code = code}, o);
  CHECK(q.code == code);
  check_same(q, textbook(
                    w, h, 1, o,
                    [&](const auto& slice, std::size_t first, std::vector<float>& out) {
                      out = tern::quantize_trit_code(
                                slice, {.code = code, .importance = part(importance, first, slice.cols())})
                                .scales;
                    },
                    [&](double x, const std::vector<float>& scales, std::vector<std::int8_t>& codes) {
                      double best = 0, distance = std::numeric_limits<double>::infinity();
                      for (int level = -17; level <= 17; ++level) {
                        std::int8_t trits[3];
                        const double value = static_cast<double>(scales[0]) * level;
                        if (!code.trits_of(level, trits) || !(std::fabs(x - value) < distance)) continue;
                        distance = std::fabs(x - value), best = value;
                        codes[0] = static_cast<std::int8_t>(level);
                      }
                      return best;
                    }));
  for (const auto clip : {tern::int_clip::absmax, tern::int_clip::mse})
    for (const unsigned bits : {2u, 4u, 8u}) {
      gptq_options plain = o;
      plain.weighted = false;
      check_same(tern::gptq_int(w, h, {.bits = bits, .clip = clip}, plain),
                 textbook(
                     w, h, 1, plain,
                     [&](const auto& slice, std::size_t, std::vector<float>& out) {
                       out = clip == tern::int_clip::mse
                                 ? tern::quantize_mse(slice, tern::per_channel, {.bits = bits}).scales
                                 : tern::quantize_absmax(slice, tern::per_channel, {.bits = bits}).scales;
                     },
                     [&](double x, const std::vector<float>& scales, std::vector<std::int8_t>& codes) {
                       const float limit = static_cast<float>((1 << (bits - 1)) - 1);
                       const float q_of_x = std::clamp(std::rint(static_cast<float>(x) / scales[0]), -limit, limit);
                       codes[0] = static_cast<std::int8_t>(q_of_x);
                       return static_cast<double>(scales[0]) * codes[0];
                     }));
    }
}

TEST_CASE("gptq: coordinate descent lowers the error of the outputs until no code changes", "[quantize]") {
  const auto w = tern::synthetic_weights(65, 160, weight_distribution::laplace, 5);
  const auto h = observed(160);
  const auto noise = [&](std::size_t planes, std::size_t sweeps) {
    const auto q =
        tern::gptq_decompose(w, h, planes, {.granularity = tern::per_group(40), .damp = 0, .sweeps = sweeps});
    return tern::output_distortion(w, tern::dequantize(q), h).noise;
  };
  for (const std::size_t planes : {std::size_t{1}, std::size_t{2}, std::size_t{3}}) {
    double last = noise(planes, 0);
    for (const std::size_t sweeps : {std::size_t{1}, std::size_t{2}, std::size_t{4}}) {
      const double here = noise(planes, sweeps);
      CHECK(here < last);
      last = here;
    }
    CHECK(noise(planes, 1000) == noise(planes, 2000));
  }
  // Scales are those of the sweep before.
  const gptq_options o{.granularity = tern::per_group(40)}, descending{.granularity = tern::per_group(40), .sweeps = 3};
  CHECK(tern::gptq_int(w, h, {.bits = 3}, descending).scales == tern::gptq_int(w, h, {.bits = 3}, o).scales);
}

TEST_CASE("gptq: the same codes as with the inverse of the Hessian", "[quantize]") {
  // GPTQ as its authors write it: U upper with inv(H) = U^T U, and every error fed into all weights that remain.
  constexpr std::size_t inputs = 30, outputs = 40;
  const auto w = tern::synthetic_weights(outputs, inputs, weight_distribution::gauss, 7);
  const auto h = observed(inputs);
  using wide = long double;
  std::vector<std::vector<wide>> a(inputs, std::vector<wide>(inputs)), inverse = a;
  wide trace = 0;
  for (std::size_t k = 0; k < inputs; ++k) trace += static_cast<wide>(h(k, k));
  for (std::size_t i = 0; i < inputs; ++i) {
    for (std::size_t j = 0; j < inputs; ++j)
      a[i][j] = static_cast<wide>(h(i, j)) + (i == j ? 0.01L * trace / inputs : 0);
    inverse[i][i] = 1;
  }
  for (std::size_t p = 0; p < inputs; ++p) {  // Gauss and Jordan; a is positive definite
    for (std::size_t i = 0; i < inputs; ++i) {
      if (i == p) continue;
      const wide factor = a[i][p] / a[p][p];
      for (std::size_t j = 0; j < inputs; ++j) a[i][j] -= factor * a[p][j], inverse[i][j] -= factor * inverse[p][j];
    }
    const wide pivot = a[p][p];
    for (std::size_t j = 0; j < inputs; ++j) a[p][j] /= pivot, inverse[p][j] /= pivot;
  }
  auto u = std::vector<std::vector<wide>>(inputs, std::vector<wide>(inputs));
  for (std::size_t i = 0; i < inputs; ++i)
    for (std::size_t j = i; j < inputs; ++j) {
      wide sum = inverse[i][j];
      for (std::size_t k = 0; k < i; ++k) sum -= u[k][i] * u[k][j];
      u[i][j] = i == j ? std::sqrt(sum) : sum / u[i][i];
    }
  const auto q = tern::gptq_int(w, h, {.bits = 3, .clip = tern::int_clip::absmax},
                                {.order = gptq_order::natural, .weighted = false});
  std::size_t wrong = 0;
  for (std::size_t n = 0; n < outputs; ++n) {
    std::vector<wide> rest(w.row(n), w.row(n) + inputs);
    const wide scale = static_cast<wide>(q.scale(0, n, 0));
    for (std::size_t j = 0; j < inputs; ++j) {
      const wide code = std::clamp(std::rint(rest[j] / scale), -3.0L, 3.0L);
      wrong += code != q.code_row(0, n)[j];
      const wide error = (rest[j] - code * scale) / u[j][j];
      for (std::size_t k = j; k < inputs; ++k) rest[k] -= error * u[j][k];
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("gptq: no executor changes a bit", "[quantize]") {
  const auto w = tern::synthetic_weights(200, 270, weight_distribution::gauss, 8);
  const auto h = observed(270);
  for (const auto g : {tern::per_channel, tern::per_group(64)}) {
    const gptq_options o{.granularity = g, .sweeps = g == tern::per_channel ? 0u : 2u};
    check_same(tern::gptq_decompose(w, h, 2, o), tern::gptq_decompose(w, h, 2, o, backward_executor{}));
    check_same(tern::gptq_trit_code(w, h, {}, o), tern::gptq_trit_code(w, h, {}, o, backward_executor{}));
    check_same(tern::gptq_int(w, h, {}, o), tern::gptq_int(w, h, {}, o, backward_executor{}));
  }
}

TEST_CASE("gptq: uncorrelated inputs leave nothing to feed", "[quantize]") {
  hessian h(20);
  tern::matrix<float> x(20, 20);
  for (std::size_t k = 0; k < 20; ++k) x(k, k) = static_cast<float>(k + 1);
  h.observe(x);
  const auto w = tern::synthetic_weights(9, 20, weight_distribution::gauss, 9);
  const gptq_options o{.granularity = tern::per_group(8), .weighted = false};
  check_same(tern::gptq_int(w, h, {.bits = 4}, o), tern::quantize_mse(w, o.granularity, {.bits = 4}));
  check_same(tern::gptq_trit_code(w, h, {.code = {{3, 2}}}, o),
             tern::quantize_trit_code(w, {.granularity = o.granularity, .code = {{3, 2}}}));
}

TEST_CASE("gptq: the code that is chosen is quantize_trit_code's", "[quantize]") {
  const auto w = tern::synthetic_weights(8, 128, weight_distribution::student_t4, 10);
  const auto h = observed(128);
  const auto importance = tern::importances(h);
  for (const std::size_t planes : {std::size_t{2}, std::size_t{3}}) {
    const auto q = tern::gptq_trit_code(w, h, {.planes = planes});
    CHECK(q.code == tern::quantize_trit_code(w, {.planes = planes, .importance = importance}).code);
  }
}

TEST_CASE("gptq: inputs that were never active and weights of zero", "[quantize]") {
  auto x = tern_test::draw_matrix(100, 12, 11);
  for (std::size_t t = 0; t < 100; ++t) x(t, 5) = 0;
  hessian h(12);
  h.observe(x);
  auto w = tern::synthetic_weights(3, 12, weight_distribution::gauss, 12);
  for (std::size_t k = 0; k < 12; ++k) w(1, k) = 0;
  const auto q = tern::gptq_decompose(w, h, 2);
  for (std::size_t p = 0; p < 2; ++p) {
    CHECK(q.scale(p, 1, 0) == 0.0f);
    for (std::size_t k = 0; k < 12; ++k) CHECK(q.code_row(p, 1)[k] == 0);
  }
  CHECK_THROWS_WITH(tern::gptq_decompose(w, h, 2, {.damp = 0}), contains("not positive definite at input 5"));
  const auto none = tern::gptq_int(tern::matrix<float>(4, 0), hessian(0));
  CHECK(none.rows == 4);
  CHECK(none.codes.empty());
  CHECK(tern::gptq_int(tern::matrix<float>(0, 12), h).codes.empty());
}

TEST_CASE("gptq: what is refused", "[quantize]") {
  const auto w = tern::synthetic_weights(2, 6, weight_distribution::gauss, 13);
  const auto h = observed(6);
  CHECK_THROWS_WITH(tern::gptq_decompose(w, observed(5), 2), contains("of 5 inputs but w has 6"));
  CHECK_THROWS_AS(tern::gptq_decompose(w, observed(5), 2), tern::shape_error);
  CHECK_THROWS_WITH(tern::gptq_decompose(w, hessian(6), 2), contains("seen no activations"));
  CHECK_THROWS_AS(tern::gptq_decompose(w, h, 0), tern::range_error);
  CHECK_THROWS_AS(tern::gptq_decompose(w, h, 6), tern::range_error);
  CHECK_THROWS_AS(tern::gptq_decompose(w, h, 1, {.granularity = tern::per_tensor}), tern::range_error);
  CHECK_THROWS_AS(tern::gptq_decompose(w, h, 1, {.granularity = tern::per_input}), tern::range_error);
  CHECK_THROWS_AS(tern::gptq_int(w, h, {.bits = 9}), tern::range_error);
  CHECK_THROWS_AS(tern::gptq_int(w, h, {.bits = 1}), tern::range_error);
  CHECK_THROWS_AS(tern::gptq_trit_code(w, h, {.planes = 4}), tern::range_error);
  CHECK_THROWS_AS(tern::gptq_trit_code(w, h, {.code = {{2, 2, 1}}}), tern::range_error);
  for (const double damp : {-0.1, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_WITH(tern::gptq_int(w, h, {}, {.damp = damp}), contains("damp"));
  auto bad = w;
  bad(1, 4) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH(tern::gptq_int(bad, h), contains("row 1, column 4"));
}

TEST_CASE("gptq: progress ascends to the total and cancels", "[quantize]") {
  const auto w = tern::synthetic_weights(150, 200, weight_distribution::gauss, 14);
  const auto h = observed(200);
  std::vector<std::size_t> reports;
  std::size_t total = 0;
  const auto q = tern::gptq_int(w, h, {}, {}, tern::serial_executor{}, [&](std::size_t done, std::size_t all) {
    reports.push_back(done), total = all;
    return true;
  });
  CHECK(total == 2 + 3);  // panels of 128 inputs and strips of 64 rows
  CHECK(reports == std::vector<std::size_t>{1, 2, 3, 4, 5});
  check_same(q, tern::gptq_int(w, h));
  for (std::size_t stop = 1; stop <= 5; ++stop)
    CHECK_THROWS_AS(
        tern::gptq_int(w, h, {}, {}, backward_executor{}, [&](std::size_t done, std::size_t) { return done < stop; }),
        tern::cancelled_error);
}

TEST_CASE("gptq: the choice of a code is part of the progress", "[quantize]") {
  const auto w = tern::synthetic_weights(70, 200, weight_distribution::gauss, 14);
  const auto h = observed(200);
  const gptq_options o{.granularity = tern::per_group(100)};
  std::vector<std::size_t> reports, totals;
  const auto q = tern::gptq_trit_code(w, h, {}, o, tern::serial_executor{}, [&](std::size_t done, std::size_t all) {
    reports.push_back(done), totals.push_back(all);
    return true;
  });
  constexpr std::size_t total = 70 * 2 + 2 + 2;  // slices, panels of 128 inputs, strips of 64 rows
  CHECK(totals == std::vector<std::size_t>(total, total));
  std::vector<std::size_t> each(total);
  std::iota(each.begin(), each.end(), std::size_t{1});
  CHECK(reports == each);
  check_same(q, tern::gptq_trit_code(w, h, {}, o));
  for (const std::size_t stop : {std::size_t{1}, std::size_t{139}, std::size_t{140}, std::size_t{141}, total})
    CHECK_THROWS_AS(tern::gptq_trit_code(w, h, {}, o, backward_executor{},
                                         [&](std::size_t done, std::size_t) { return done < stop; }),
                    tern::cancelled_error);
  // With a given code there is nothing to choose.
  totals.clear();
  tern::gptq_trit_code(w, h, {.code = {{3, 2}}}, o, tern::serial_executor{}, [&](std::size_t, std::size_t all) {
    totals.push_back(all);
    return true;
  });
  CHECK(totals == std::vector<std::size_t>(4, 4));
}

TEST_CASE("gptq: weights near the largest float", "[quantize]") {
  // What is fed into them leads beyond float: scales come from the largest floats then, and levels beyond are an error.
  constexpr float largest = std::numeric_limits<float>::max();
  const auto h = observed(64);
  for (unsigned seed = 1; seed < 6; ++seed)
    for (const float factor : {0.25f, 1.0f, 4.0f}) {
      auto w = tern::synthetic_weights(8, 64, weight_distribution::gauss, seed);
      float most = 0;
      for (std::size_t i = 0; i < 8 * 64; ++i) most = std::max(most, std::fabs(w.data()[i]));
      for (std::size_t i = 0; i < 8 * 64; ++i)
        w.data()[i] = std::clamp(w.data()[i] / most * factor, -1.0f, 1.0f) * largest;
      for (const auto granularity : {tern::per_channel, tern::per_group(16)}) {
        const gptq_options o{.granularity = granularity, .sweeps = seed % 2};
        const auto check = [&](auto&& quantize) {
          try {
            const auto w_hat = tern::dequantize(quantize());
            for (std::size_t i = 0; i < 8 * 64; ++i) CHECK(std::isfinite(w_hat.data()[i]));
            const auto d = tern::output_distortion(w, w_hat, h);
            CHECK(std::isfinite(d.signal));
            CHECK(d.snr_db > 0);
            CHECK(std::isfinite(d.snr_db));
          } catch (const tern::range_error& e) {
            const std::string what = e.what();
            CHECK((what.find("is beyond float") != std::string::npos || what.find("W - W_hat") != std::string::npos));
            CHECK(factor >= 1);
          }
        };
        check([&] { return tern::gptq_decompose(w, h, 1, o); });
        check([&] { return tern::gptq_decompose(w, h, 2, o); });
        check([&] { return tern::gptq_trit_code(w, h, {}, o); });
        check([&] { return tern::gptq_int(w, h, {}, o); });
        check([&] { return tern::gptq_int(w, h, {.clip = tern::int_clip::absmax}, o); });
      }
    }
  tern::matrix<float> w(1, 2, {1, 2}), w_hat(1, 2, {1, -std::numeric_limits<float>::infinity()});
  CHECK_THROWS_WITH(tern::output_distortion(w, w_hat, observed(2)), contains("row 0, column 1 is not finite"));
}

TEST_CASE("output distortion: the mean square of the outputs of the tokens that were seen", "[quantize]") {
  const auto x = tern_test::draw_matrix(50, 140, 15);
  const auto w = tern_test::draw_matrix(70, 140, 16), w_hat = tern_test::draw_matrix(70, 140, 17);
  hessian h(140);
  h.observe(x);
  const auto d = tern::output_distortion(w, w_hat, h);
  double signal = 0, noise = 0;
  std::vector<double> row_noise(70);
  for (std::size_t t = 0; t < 50; ++t)
    for (std::size_t n = 0; n < 70; ++n) {
      double y = 0, error = 0;
      for (std::size_t k = 0; k < 140; ++k) {
        y += static_cast<double>(x(t, k)) * static_cast<double>(w(n, k));
        error += static_cast<double>(x(t, k)) * static_cast<double>(w(n, k) - w_hat(n, k));
      }
      signal += y * y / 50, noise += error * error / 50, row_noise[n] += error * error / 50;
    }
  // H is rounded to float: 2^-24 of each of 140 x 140 terms, which add up to some thousand times the energy at most.
  CHECK(d.signal == Approx(signal).epsilon(1e-5));
  CHECK(d.noise == Approx(noise).epsilon(1e-5));
  for (std::size_t n = 0; n < 70; ++n) CHECK(d.row_noise[n] == Approx(row_noise[n]).epsilon(1e-4));
  CHECK(d.snr_db == Approx(10 * std::log10(signal / noise)).epsilon(1e-5));
  CHECK(tern::output_distortion(w, w_hat, h, backward_executor{}).row_noise == d.row_noise);
  CHECK(tern::output_distortion(w, w, h).snr_db == std::numeric_limits<double>::infinity());
  CHECK_THROWS_AS(tern::output_distortion(w, tern::matrix<float>(70, 139), h), tern::shape_error);
  CHECK_THROWS_AS(tern::output_distortion(w, w_hat, hessian(139)), tern::shape_error);
}
