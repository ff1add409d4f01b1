// SPDX-License-Identifier: MIT
// Nothing is narrowed silently: a matrix of doubles is cast by its owner.
// expect: real_element
#include <tern/quantize/ternary.hpp>

#if MUST_NOT_COMPILE
using element = double;
#else
using element = float;
#endif

auto quantize(const tern::matrix<element>& w) { return tern::quantize_absmean(w); }
