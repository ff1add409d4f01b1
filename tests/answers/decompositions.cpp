// SPDX-License-Identifier: MIT
/// Several ternary planes: greedy, refitted, alternating from every start, balanced; and integer plane codes.
#include <tern/quantize/decompose.hpp>
#include <tern/quantize/synthetic.hpp>
#include <tern/quantize/trit_code.hpp>
#include <tern/type/packed_matrix.hpp>

#include "answers.hpp"

namespace answers {
namespace {

using method = tern::decompose_method;
using start = tern::decompose_start;

/// Up to `planes` planes of small matrices of every kind.
void decompose_all(sink& out, const char* name, std::size_t planes, const tern::decompose_options& options) {
  out.begin(name);
  dice d(40);
  for (const kind k : kinds)
    for (std::size_t p = 1; p <= planes; ++p)
      for (const auto base :
           {tern::base_rule::absmean, tern::base_rule::twn, tern::base_rule::absmax, tern::base_rule::optimum}) {
        const tern::granularity sharing[] = {tern::per_tensor, tern::per_channel, tern::per_input, tern::per_group(32)};
        const std::size_t rows = d.one_of({1, 2, 4}), cols = d.one_of({1, 7, 40, 70});
        const auto w = draw(d, k, rows, cols);
        auto o = options;
        o.planes = p;
        o.base = base;
        o.granularity = sharing[d.below(4)];
        out.put(tern::decompose(w, o, out.ex));
        if (o.method == method::balanced) break;  // it has no rule
      }
}

}  // namespace

void decompositions(sink& out) {
  decompose_all(out, "greedy", 6, {.method = method::greedy});
  decompose_all(out, "greedy_refit", 5, {.method = method::greedy_refit});
  decompose_all(out, "balanced", 5, {.method = method::balanced});
  decompose_all(out, "alternating, base", 4, {.method = method::alternating, .start = start::base});
  decompose_all(out, "alternating, balanced", 4, {.method = method::alternating, .start = start::balanced});
  decompose_all(out, "alternating, multistart", 3, {.method = method::alternating, .start = start::multistart});

  using distribution = tern::weight_distribution;
  out.begin("rows of 600 weights");
  for (const auto which : {distribution::gauss, distribution::laplace, distribution::student_t4}) {
    const auto w = tern::synthetic_weights(3, 600, which, 41);
    out.put(tern::decompose(w, {.planes = 5, .method = method::alternating, .start = start::base}, out.ex));
    out.put(
        tern::decompose(w, {.planes = 4, .granularity = tern::per_group(200), .method = method::alternating}, out.ex));
    out.put(tern::decompose(w, {.planes = 5, .method = method::balanced}, out.ex));
    for (const double target : {3.0, 12.5, 20.0})
      for (const auto how : {method::greedy, method::alternating})
        out.put(
            tern::decompose(w, {.planes = 4, .method = how, .start = start::base, .target_snr_db = target}, out.ex));
  }

  out.begin("plane codes");
  dice d(42);
  for (const kind k : kinds)
    for (const std::size_t planes : {std::size_t{2}, std::size_t{3}})
      for (const tern::granularity g : {tern::per_tensor, tern::per_channel, tern::per_group(80), tern::per_input}) {
        const std::size_t rows = d.one_of({1, 4, 17}), cols = d.one_of({1, 33, 130});
        const auto w = draw(d, k, rows, cols);
        const auto q = tern::quantize_trit_code(w, {.planes = planes, .granularity = g}, out.ex);
        out.put(q);
        out.put(std::span<const std::int8_t>(q.code.c));
        if (g.kind == tern::granularity::sharing::input) continue;
        if (planes == 2) {
          out.put_bytes(tern::trit_code_matrix<tern::n4>(q).storage());
          out.put_bytes(tern::trit_code_matrix<tern::b3x2>(q).storage());
        } else {
          out.put_bytes(tern::trit_code_matrix<tern::n6>(q).storage());
          out.put_bytes(tern::trit_code_matrix<tern::b3x3>(q).storage());
        }
        out.put(tern::quantize_trit_code(w, {.granularity = g, .code = {{16, 11, 4}}}, out.ex));
        out.put(tern::quantize_trit_code(w, {.granularity = g, .code = {{17, 14}}}, out.ex));
      }
}

}  // namespace answers
