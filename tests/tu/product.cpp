// SPDX-License-Identifier: MIT
/// Every product of the library on fixed values. Compiled twice, with UNIT naming the function and other -march flags.
#include "product.hpp"

#include <cstddef>
#include <tern/any_linear.hpp>
#include <tern/io/safetensors_layer_writer.hpp>
#include <tern/mixed_linear.hpp>
#include <tern/quantize/compat.hpp>
#include <tern/tern.hpp>
#include <tern/thread_pool.hpp>

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

namespace {

tern::matrix<float> values(std::size_t rows, std::size_t cols, unsigned state) {
  tern::matrix<float> m(rows, cols);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      state = state * 1664525u + 1013904223u;
      m(r, c) = static_cast<float>(static_cast<int>(state >> 8) - (1 << 23)) * 0x1p-20f;
    }
  }
  return m;
}

template <class Layer>
void append(std::vector<float>& all, const Layer& layer, const tern::matrix<float>& x) {
  const auto y = layer(x);
  all.insert(all.end(), y.data(), y.data() + y.rows() * y.cols());
}

}  // namespace

std::vector<float> PASTE(product_, UNIT)() {
  const auto w = values(37, 263, 1);
  std::vector<float> all;
  for (const std::size_t tokens : {std::size_t{1}, std::size_t{9}}) {
    const auto x = values(tokens, 263, 2);
    append(all, tern::bit_linear::from_float(w), x);
    append(all, tern::multi_ternary_linear::from_float(w), x);
    append(all, tern::int8_linear::from_float(w), x);
    append(all, tern::int4_linear::from_float(w), x);
    append(all, tern::trit_code_linear::from_float(w), x);
    append(all, tern::linear<tern::trit_code_matrix<tern::b3x3>>::from_float(w), x);
    append(all, tern::llm_int8_linear::from_float(w), x);
    append(all, tern::int8_weight_only_linear::from_float(w), x);
    // Copies, moves and what is saved.
    tern::int8_linear layer = tern::int8_linear::from_float(w), copy = layer, moved = std::move(copy);
    layer = tern::load<tern::int8_linear>(tern::save(moved));
    append(all, layer, x);
    // A layer behind a virtual function, and its tensors.
    const tern::any_linear any(layer,
                               {tern::hadamard_rotation(263), tern::input_scaling(std::vector<float>(263, 0.7f))}),
        same = any;
    append(all, same, x);
    all.push_back(same.dequantized()(3, 5));
    all.push_back(static_cast<float>(same.bits_per_weight()));
    tern::layer_tensors tensors;
    tensors.add("w", same);
    all.push_back(static_cast<float>(tern::save_safetensors(tensors.tensors(), tensors.metadata()).size()));
    // Outputs in parts, listed by hand: the even ones, and the odd ones.
    std::vector<std::size_t> even, odd;
    tern::matrix<float> of_even(19, 263), of_odd(18, 263);
    for (std::size_t n = 0; n < 37; ++n) {
      for (std::size_t k = 0; k < 263; ++k) (n % 2 == 0 ? of_even : of_odd)(n / 2, k) = w(n, k);
      (n % 2 == 0 ? even : odd).push_back(n);
    }
    const tern::mixed_linear<tern::ternary_matrix<tern::b3>, tern::int8_matrix> mixed(
        {tern::ternary_matrix<tern::b3>(tern::quantize_absmean(of_even)), even},
        {tern::int8_matrix(tern::quantize_absmax(of_odd)), odd}, std::vector<float>(37, 0.3f)),
        mixed_copy = mixed;
    append(all, mixed_copy, x);
    all.push_back(mixed_copy.dequantized()(3, 5));
    // Threads.
    immediate_pool pool;
    tern::matrix<float> y(tokens, 37);
    tern::aligned_bytes workspace(any.workspace_bytes(tokens));
    layer(x, y, workspace, tern::pool_executor(pool));
    all.insert(all.end(), y.data(), y.data() + tokens * 37);
    any(x, y, workspace, tern::pool_executor(pool));
    all.insert(all.end(), y.data(), y.data() + tokens * 37);
    tern::quantized_matrix q = tern::decompose(w, {.planes = 2, .method = tern::decompose_method::alternating}), other;
    other = q;
    append(all, tern::multi_ternary_linear(other), x);
    const tern::matrix<float> restored = tern::dequantize(q), again = restored;
    all.push_back(static_cast<float>(tern::distortion(w, again).mse));
    tern::magnitude_counts counts;
    counts.observe(x);
    all.push_back(tern::mse_clip(counts));
    all.push_back(tern::entropy_clip(counts));
    all.push_back(tern::quantize_mse(w, tern::per_group(16), {.bits = 4}).scales[1]);
    all.push_back(tern::compat::zeropoint_quantize(w).dequantized(1, 1));
  }
  return all;
}
