// SPDX-License-Identifier: MIT
// -ffast-math would make results depend on the build; TERN_ALLOW_FAST_MATH accepts that.
// expect: tern promises one result on every machine
#define __FAST_MATH__ 1
#if !MUST_NOT_COMPILE
#define TERN_ALLOW_FAST_MATH
#endif
#include <tern/config.hpp>
