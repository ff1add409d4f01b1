// SPDX-License-Identifier: MIT
#include <tern/io/hessian_blob.hpp>
#include <tern/quantize/gptq.hpp>
#include <tern/quantize/hadamard.hpp>
#include <tern/quantize/migrate.hpp>
#include <tern/quantize/mixed_precision.hpp>
#include <tern/quantize/output_refit.hpp>

#include "answers.hpp"

namespace answers {

namespace {

/// What a layer might see: neighbours are correlated, every ninth input is eight times larger, tokens come in batches.
tern::hessian observe(sink& out, dice& d, std::size_t tokens, std::size_t inputs) {
  auto x = draw(d, kind::bell, tokens, inputs);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t k = 1; k < inputs; ++k) {
      x(t, k) += x(t, k - 1);
      if (k % 9 == 4) x(t, k) *= 8;
    }
  tern::hessian h(inputs);
  out.parts(tokens, [&](std::size_t begin, std::size_t end) { h.observe(rows_of(x, begin, end), out.ex); });
  return h;
}

}  // namespace

void activation_aware(sink& out) {
  dice d(71);
  out.begin("Hessians");
  for (const std::size_t inputs : {std::size_t{1}, std::size_t{33}, std::size_t{140}}) {
    const tern::hessian h = observe(out, d, 90, inputs);
    const tern::aligned_bytes bytes = tern::save_hessian(h);
    out.put_bytes(bytes);
    out.put(std::span<const float>(tern::importances(h)));
  }

  out.begin("error feedback");
  for (const kind k : {kind::bell, kind::wide, kind::grid})
    for (const std::size_t inputs : {std::size_t{24}, std::size_t{200}}) {
      const tern::hessian h = observe(out, d, 300, inputs);
      const auto w = draw(d, k, 70, inputs);
      for (const tern::granularity g : {tern::per_channel, tern::per_group(48)}) {
        auto planes = tern::gptq_decompose(w, h, 2, {.granularity = g}, out.ex);
        out.put(planes);
        tern::refit_outputs(planes, w, h, 2, out.ex);
        out.put(planes);
        for (const double noise : tern::output_distortion(w, tern::dequantize(planes), h, out.ex).row_noise)
          out.put(noise);
        const auto code = tern::gptq_trit_code(w, h, {.planes = 3}, {.granularity = g}, out.ex);
        out.put(code);
        out.put(std::span<const std::int8_t>(code.code.c));
        out.put(tern::gptq_int(w, h, {.bits = 4}, {.granularity = g}, out.ex));
        out.put(tern::gptq_int(w, h, {.bits = 3, .clip = tern::int_clip::absmax},
                               {.granularity = g,
                                .order = tern::gptq_options::order::natural,
                                .scales = tern::gptq_options::scales::frozen,
                                .weighted = false},
                               out.ex));
      }
    }

  out.begin("importances");
  const tern::hessian h = observe(out, d, 150, 96);
  const auto importance = tern::importances(h);
  for (const kind k : kinds) {
    const auto w = draw(d, k, 3, 96);
    for (const tern::granularity g : {tern::per_tensor, tern::per_channel, tern::per_group(32)}) {
      out.put(tern::decompose(
          w, {.planes = 2, .granularity = g, .method = tern::decompose_method::alternating, .importance = importance},
          out.ex));
      out.put(tern::quantize_trit_code(w, {.granularity = g, .importance = importance}, out.ex));
    }
  }

  out.begin("rotation, migration, mixed precision");
  for (const std::size_t inputs : {std::size_t{20}, std::size_t{64}, std::size_t{384}, std::size_t{512}}) {
    const tern::hadamard_rotation r(inputs, inputs);
    const auto x = draw(d, kind::outliers, 3, inputs);
    tern::matrix<float> y(3, inputs);
    out.parts(3, [&](std::size_t begin, std::size_t end) { r.apply(rows_of(x, begin, end), rows_of(y, begin, end)); });
    out.put(y);
    r.undo(y, y.view());
    out.put(y);
  }
  const auto w = draw(d, kind::bell, 20, 96);
  tern::input_maxima seen(96);
  const auto outliers = draw(d, kind::outliers, 10, 96);
  seen.observe(outliers);
  for (const bool powers_of_two : {false, true}) {
    out.put(tern::smoothquant_scaling(seen.maxima(), w, {.powers_of_two = powers_of_two}).scales());
    const auto quantize = [](const auto& v) { return tern::quantize_mse(v, tern::per_group(32), {.bits = 4}); };
    const auto found = tern::awq_scaling(w, h, quantize, {.steps = 5, .powers_of_two = powers_of_two}, out.ex);
    out.put(found.scaling.scales());
    out.put(found.noise);
  }
  const auto curves = tern::plane_curves(w, h, 3, {}, out.ex);
  for (const std::size_t chosen : tern::choose_precision(curves, 2.2 * 20 * (1.6 * 96 + 16)))
    out.put(std::uint64_t{chosen});
}

}  // namespace answers
