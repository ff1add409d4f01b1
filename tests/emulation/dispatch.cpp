// SPDX-License-Identifier: MIT
/// dispatch EXPECTED: what a program that is built for any machine does on this one, which qemu pretends to be.
///
/// Fails unless the instruction set that products run on is called EXPECTED, or the error of its choice says EXPECTED, and
/// unless all that it computes is, bit for bit, what the reference and the scalar kernels compute.
#include <cstdio>
#include <tern/matmul.hpp>
#include <tern/quantize/activations.hpp>

#include "kernel/problem.hpp"

namespace {

using namespace tern_test;

int faults = 0, products = 0;

void check(bool equal, const char* what, std::string_view codec, const facts& f) {
  ++products;
  if (equal) return;
  ++faults;
  std::printf("%s, codec %s, %s\n", what, std::string(codec).c_str(), f.text().c_str());
}

bool same(const tern::matrix<float>& a, const tern::matrix<float>& b) {
  return std::memcmp(a.data(), b.data(), a.rows() * a.cols() * sizeof(float)) == 0;
}

/// The product on the chosen instruction set, on scalar, and by the reference.
template <class Activations, class X, tern::codec Codec>
void compare(const Activations& x, const tern::packed_matrix<Codec>& w, std::span<const float> bias,
             const tern::kernel::product<X, Codec>& a, const char* what, const facts& f) {
  tern::matrix<float> best(f.tokens, f.outputs), scalar = best, want = best;
  tern::matmul(x, w, best, bias);
  tern::matmul(tern::isa::scalar{}, x, w, scalar, bias);
  auto specified = a;
  specified.y.data = want.data();
  specified.y.row_stride = want.cols();
  tern::kernel::reference::matmul(specified);
  check(same(best, want) && same(scalar, want), what, Codec::name(), f);
}

template <tern::codec Codec>
void check_codec() {
  dice d(Codec::fold);
  for (const std::size_t tokens : sizes{1, 3, 17}) {
    for (const tern::granularity sharing :
         {tern::per_tensor, tern::per_channel, tern::per_group(3 * Codec::group_multiple)}) {
      for (const bool zeros : {false, true}) {
        const facts f{.tokens = tokens,
                      .outputs = 33,
                      .inputs = 139,
                      .granularity = sharing,
                      .x_zeros = zeros,
                      .w_zeros = zeros,
                      .bias = true};
        const problem<Codec> p(d, f);
        compare(p.x, p.w, p.bias, p.product(), "int8 activations", f);
      }
      const facts f{.tokens = tokens, .outputs = 33, .inputs = 139, .granularity = sharing};
      const float_problem<Codec> p(d, f);
      const auto a = p.product();
      compare(a.x, p.w, p.bias, a, "float activations", f);
    }
  }
}

template <class... Codecs>
void check_codecs(tern::type_list<Codecs...>) {
  (check_codec<Codecs>(), ...);
}

void check_quantizer() {
  dice d(1);
  tern::matrix<float> x(5, 139);
  for (std::size_t i = 0; i < 5 * 139; ++i) x.data()[i] = d.real();
  const auto q = tern::quantize_activations(x);
  for (std::size_t m = 0; m < 5; ++m) {
    std::int8_t codes[139];
    const float scale = tern::kernel::reference::quantize_row(x.row(m), 139, codes);
    check(q.view().scale(m) == scale && std::memcmp(q.view().codes(m), codes, 139) == 0, "quantize_activations", "",
          {});
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string found;
  try {
    found = tern::isa::best_name();
    check_codecs(tern::codecs{});
    check_quantizer();
  } catch (const tern::isa_error& e) {
    found = e.what();
  }
  std::printf("%s, %d results compared, %d wrong\n", found.c_str(), products, faults);
  return argc == 2 && found == argv[1] && faults == 0 ? 0 : 1;
}
