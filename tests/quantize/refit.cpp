// SPDX-License-Identifier: MIT
#include <tern/quantize/refit.hpp>

#include <random>

#include <Eigen/Dense>

#include "support/catch.hpp"

using tern::detail::normal_equations;
using tern::detail::plane_values;

namespace {

/// Random planes of n trits, some of them empty, equal to another or its negative.
Eigen::MatrixXd draw_planes(std::size_t n, std::size_t planes, std::mt19937& random) {
  const auto k = static_cast<Eigen::Index>(planes);
  Eigen::MatrixXd t(static_cast<Eigen::Index>(n), k);
  for (Eigen::Index p = 0; p < k; ++p) {
    for (Eigen::Index i = 0; i < t.rows(); ++i) t(i, p) = static_cast<double>(random() % 3) - 1;
    if (random() % 4 == 0) t.col(p).setZero();
    if (p > 0 && random() % 4 == 0) t.col(p) = t.col(p - 1);
    if (p > 0 && random() % 4 == 0) t.col(p) = -t.col(0);
  }
  return t;
}

normal_equations equations_from(const Eigen::MatrixXd& t, const Eigen::VectorXd& w) {
  normal_equations equations;
  const Eigen::MatrixXd g = t.transpose() * t;
  const Eigen::VectorXd b = t.transpose() * w;
  for (Eigen::Index i = 0; i < t.cols(); ++i) {
    equations.b[static_cast<std::size_t>(i)] = b(i);
    for (Eigen::Index j = 0; j < t.cols(); ++j)
      equations.g[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] = g(i, j);
  }
  return equations;
}

}  // namespace

TEST_CASE("refit: Eigen's complete orthogonal decomposition finds the same gammas", "[quantize]") {
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  const std::size_t planes = GENERATE(range(std::size_t{1}, std::size_t{6}));
  double largest_difference = 0;
  int singular = 0;
  for (int trial = 0; trial < 400; ++trial) {
    const std::size_t n = 1 + random() % 40;
    const Eigen::MatrixXd t = draw_planes(n, planes, random);
    const Eigen::VectorXd w = Eigen::VectorXd::NullaryExpr(t.rows(), [&] { return normal(random); });
    const normal_equations equations = equations_from(t, w);
    const plane_values gamma = tern::detail::solve_normal(equations, planes);

    Eigen::CompleteOrthogonalDecomposition<Eigen::MatrixXd> solver;
    solver.setThreshold(1e-10);
    solver.compute(t.transpose() * t);
    const Eigen::VectorXd wanted = solver.solve(t.transpose() * w);
    singular += solver.rank() < t.cols();
    const Eigen::VectorXd found =
        Eigen::VectorXd::NullaryExpr(t.cols(), [&](Eigen::Index p) { return gamma[static_cast<std::size_t>(p)]; });
    largest_difference = std::max(largest_difference, (found - wanted).norm() / std::max(1e-30, wanted.norm()));
    // The error by its formula is the error.
    const double error = tern::detail::fitted_error(equations, planes, w.squaredNorm(), gamma);
    CHECK(std::fabs(error - (w - t * found).squaredNorm()) <= 1e-12 * w.squaredNorm());
  }
  CHECK(largest_difference < 1e-9);
  CHECK(singular > 20);
}

TEST_CASE("refit: equal planes share, empty planes get nothing", "[quantize]") {
  normal_equations equations;
  equations.g = {{{4, 4, 0}, {4, 4, 0}, {0, 0, 0}}};
  equations.b = {8, 8, 0};
  const plane_values gamma = tern::detail::solve_normal(equations, 3);
  CHECK(std::fabs(gamma[0] - 1) < 1e-15);
  CHECK(gamma[1] == gamma[0]);
  CHECK(gamma[2] == 0);
  CHECK(tern::detail::solve_normal(equations, 1) == plane_values{2});
  CHECK(tern::detail::solve_normal({}, 3) == plane_values{});
}

TEST_CASE("refit: planes by hand", "[quantize]") {
  const float w[6] = {5, -5, 3, 3, 1, 0};
  std::int8_t trits[2][6] = {{1, -1, 1, 1, 0, 0}, {1, -1, 0, 0, 1, 0}};
  const tern::matrix_view<std::int8_t> planes[2] = {{trits[0], 2, 3}, {trits[1], 2, 3}};
  const auto equations = tern::detail::equations_of({w, 2, 3}, planes, 2);
  CHECK(equations.g[0] == plane_values{4, 2});
  CHECK(equations.g[1] == plane_values{2, 3});
  CHECK(equations.b == plane_values{16, 11});
  const plane_values gamma = tern::detail::solve_normal(equations, 2);
  CHECK(std::fabs(gamma[0] - 26.0 / 8) < 1e-15);
  CHECK(std::fabs(gamma[1] - 12.0 / 8) < 1e-15);
}
