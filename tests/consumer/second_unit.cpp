// SPDX-License-Identifier: MIT
/// Includes the library once more: a definition that is not inline would be there twice, and the program would not link.
#include <tern/tern.hpp>
