// SPDX-License-Identifier: MIT
/// What each translation unit computes.
#pragma once

#include <vector>

std::vector<float> product_native();
std::vector<float> product_baseline();
