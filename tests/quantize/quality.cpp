// SPDX-License-Identifier: MIT
/// Every quantizer of weights against the reference values that bench_quality prints, on fewer rows.
#include "../../bench/quality.hpp"

#include "support/catch.hpp"

using tern::decompose_method, tern::weight_distribution;

TEST_CASE("quality: no method is below its reference", "[quantize]") {
  const auto distribution =
      GENERATE(weight_distribution::gauss, weight_distribution::laplace, weight_distribution::student_t4);
  const auto w = quality::weights(64, distribution);
  // Of 64 rows instead of 512: their largest weights are luck, more so with heavier tails and one scale for a whole
  // row.
  const double sampling = distribution == weight_distribution::gauss     ? 0.05
                          : distribution == weight_distribution::laplace ? 0.15
                                                                         : 0.6;
  std::size_t measured = 0;
  for (const auto& e : quality::reference()) {
    if (e.distribution != distribution || e.granularity == tern::per_tensor) continue;
    const double snr = e.snr_db(w);
    ++measured;
    INFO(e.method << ", " << quality::name_of(e.granularity));
    CHECK(snr >= e.wanted - e.slack - sampling);
  }
  CHECK(measured == 140);
}

TEST_CASE("quality: what several planes are for", "[quantize]") {
  const auto w = quality::weights(64, weight_distribution::gauss);
  const auto planes = [&](std::size_t count) {
    return quality::snr_db(w, tern::decompose(w, {.planes = count, .method = decompose_method::alternating}));
  };
  CHECK(planes(2) >= 15.3);
  CHECK(planes(3) >= 24.0);
  CHECK(quality::snr_db(w, tern::quantize_trit_code(w, {.planes = 2})) >= 15.3);
  CHECK(quality::snr_db(w, tern::quantize_trit_code(w, {.planes = 3})) >= 24.0);
}
