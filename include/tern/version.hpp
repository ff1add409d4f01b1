// SPDX-License-Identifier: MIT
/// The version of tern, in one place: CMake and pkg-config read these three lines.
#pragma once

#define TERN_VERSION_MAJOR 0
#define TERN_VERSION_MINOR 1
#define TERN_VERSION_PATCH 0
