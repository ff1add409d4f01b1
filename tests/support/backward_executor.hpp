// SPDX-License-Identifier: MIT
/// An executor that begins with the last part: no result may depend on the order.
#pragma once

#include <cstddef>

namespace tern_test {

struct backward_executor {
  std::size_t concurrency() const { return 3; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    while (n-- > 0) f(n);
  }
};

}  // namespace tern_test
