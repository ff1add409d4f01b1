// SPDX-License-Identifier: MIT
/// What each translation unit computes.
#pragma once

#include <vector>

/// A type that both units know. Runs each task at once.
struct immediate_pool {
  int NumThreads() const { return 3; }
  void Schedule(auto task) { task(); }
};

std::vector<float> product_native();
std::vector<float> product_baseline();
