// SPDX-License-Identifier: MIT
/// tern: ternary and INT8 quantized linear algebra. This header is everything that needs the standard library only.
///
///   view.hpp       matrix_view, matrix; half, bfloat16               what matrices look like from outside
///   type/          i2, b3, n4, ...; ternary_matrix, int8_matrix, ... packed weights and quantised activations
///   quantize/      quantize_absmean, decompose, mse_clip, ...        from floats to codes and scales, and how far off
///   matmul.hpp     matmul(x, w, y, bias, executor)                   the product, best kernel of this machine
///   kernel_report.hpp    which kernel serves a product here, and why
///   linear.hpp     bit_linear, trit_code_linear, int8_linear, ...    layers: float in, float out
///   llm_int8_linear.hpp  outlier columns in float, the rest in int8; llm_int8_static_linear.hpp, columns given
///   transformed_linear.hpp   rotated_linear, scaled_linear: any layer behind a map of its inputs
///   io/            save, load, view_blob, save_file, ...             packed weights and layers as bytes and files
///   parallel.hpp   serial_executor, openmp_executor                  who runs the parts
///   isa, kernel/   isa::amx ... isa::scalar; kernel_for              one file an instruction set, all in one list
///
///     auto layer = tern::bit_linear::from_float(W, bias);                   // W [N x K] float
///     auto y = layer(x);                                                    // x [M x K] float -> y [M x N]
///     auto planes = tern::decompose(W, {.planes = 3});                      // W ~ sum gamma_p T_p
///     double snr = tern::distortion(W, tern::dequantize(planes)).snr_db;
///
/// Included by the user: tern/eigen.hpp, after which Eigen matrices work everywhere; tern/thread_pool.hpp and tern/tbb.hpp,
/// executors over Eigen's thread pool and oneTBB; tern/quantize/compat.hpp, other projects' quantizers bit for bit;
/// tern/quantize/gptq.hpp and its neighbours, quantisation that knows the activations (hessian.hpp, output_refit.hpp,
/// migrate.hpp, mixed_precision.hpp, io/hessian_blob.hpp); tern/quantize/synthetic.hpp, weights to test with;
/// tern/io/mapped_file.hpp, which needs POSIX; tern/io/safetensors_writer.hpp, and tern/io/safetensors.hpp, which needs
/// nlohmann/json: the format of models; tern/any_linear.hpp, layers that are chosen at run time, and
/// tern/io/safetensors_layer_writer.hpp and safetensors_layer.hpp, which store them; tern/mixed_linear.hpp, layers whose
/// outputs have weights of different precision.
#pragma once

#include <tern/io/blob.hpp>
#include <tern/io/blob_file.hpp>
#include <tern/kernel_report.hpp>
#include <tern/linear.hpp>
#include <tern/llm_int8_linear.hpp>
#include <tern/llm_int8_static_linear.hpp>
#include <tern/matmul.hpp>
#include <tern/memory.hpp>
#include <tern/parallel.hpp>
#include <tern/quantize/activations.hpp>
#include <tern/quantize/calibrate.hpp>
#include <tern/quantize/clip.hpp>
#include <tern/quantize/decompose.hpp>
#include <tern/quantize/distortion.hpp>
#include <tern/quantize/ste.hpp>
#include <tern/quantize/ternary.hpp>
#include <tern/quantize/trit_code.hpp>
#include <tern/quantize/weights.hpp>
#include <tern/transformed_linear.hpp>
#include <tern/type/packed_matrix.hpp>
#include <tern/type/quantized_activations.hpp>
#include <tern/type/trit_code.hpp>
#include <tern/version.hpp>
#include <tern/view.hpp>
