// SPDX-License-Identifier: MIT
// Nothing is narrowed silently: a matrix of doubles is cast by its owner.
// expect: real_element
#include <tern/eigen.hpp>
#include <tern/tern.hpp>

auto layer_from(const Eigen::MatrixXd& w) {
#if MUST_NOT_COMPILE
  return tern::bit_linear::from_float(w);
#else
  return tern::bit_linear::from_float(w.cast<float>());
#endif
}
