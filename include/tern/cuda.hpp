// SPDX-License-Identifier: MIT
/// tern on NVIDIA GPUs: the same packed bytes, the same numbers. For sources compiled by nvcc; sm_75 and newer. For an H100 or
/// H200 say sm_90a: code for sm_90 has no warpgroup products, and takes the kernels of sm_80 for more than 16 tokens.
///
///   cuda/device_matrix.hpp       packed weights on a device                device_matrix
///   cuda/device_activations.hpp  int8 codes and scales on a device         device_activations
///   cuda/quantize.hpp            activations to int8                       quantize_activations
///   cuda/matmul.hpp              Y = X W^T                                 matmul
///   cuda/linear.hpp              layers: quantise, multiply, add the bias  linear, bit_linear ...
///   cuda/launch.hpp              streams and overlap                       launch
///   cuda/error.hpp               CUDA's errors                             cuda_error
#pragma once

#include <tern/cuda/linear.hpp>
