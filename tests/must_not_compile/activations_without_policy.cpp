// SPDX-License-Identifier: MIT
// The second parameter of a layer says what becomes of its activations; their element type is none of its business.
// expect: Activations is a policy
#include <tern/linear.hpp>

#if MUST_NOT_COMPILE
using activations = float;
#else
using activations = tern::float_activations;
#endif

std::size_t inputs(const tern::linear<tern::int8_matrix, activations>& layer) { return layer.in_features(); }
