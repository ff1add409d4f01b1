// SPDX-License-Identifier: MIT
/// tern on NVIDIA GPUs: the same packed bytes, the same numbers. For sources compiled by nvcc; sm_75 and newer.
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
