# What developers of tern need and its users never see: warnings, and the packages of tests, benches and examples.

option(TERN_WERROR "Treat warnings as errors" OFF)
option(TERN_TEST_EXAMPLES "Test what the examples share also where their programs are not built, as under sanitizers" OFF)

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

# What every program of this repository links.
add_library(tern_dev INTERFACE)
target_link_libraries(tern_dev INTERFACE tern::tern tern::eigen)
target_compile_options(tern_dev INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wdouble-promotion
  $<$<BOOL:${TERN_WERROR}>:-Werror>)

# cmake --build <dir> --target all_verify_interface_header_sets compiles each header alone.
set_target_properties(tern tern_eigen PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)

find_package(OpenMP COMPONENTS CXX)
if(OpenMP_CXX_FOUND)
  target_link_libraries(tern_dev INTERFACE OpenMP::OpenMP_CXX)
endif()

# For the test of its executor only.
find_package(TBB QUIET)
if(TBB_FOUND)
  set_target_properties(tern_tbb PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
endif()

# An installed package first, else these commits. -DFETCHCONTENT_SOURCE_DIR_<NAME>=<path> builds with a local copy.
include(FetchContent)
set(BENCHMARK_ENABLE_TESTING OFF)
set(BENCHMARK_ENABLE_INSTALL OFF)
FetchContent_Declare(Eigen3 SYSTEM
  GIT_REPOSITORY https://gitlab.com/libeigen/eigen.git
  GIT_TAG 3147391d946bb4b6c68edd901f2add6ac1f31f8c # 3.4.0
  SOURCE_SUBDIR headers-only # its CMake file would configure Eigen's own tests
  FIND_PACKAGE_ARGS 3.4 CONFIG)
FetchContent_Declare(Catch2 SYSTEM
  GIT_REPOSITORY https://github.com/catchorg/Catch2.git
  GIT_TAG b5373dadca40b7edc8570cf9470b9b1cb1934d40 # 3.5.4
  FIND_PACKAGE_ARGS) # 2.13 will do as well, see tests/support/catch.hpp
FetchContent_Declare(benchmark SYSTEM
  GIT_REPOSITORY https://github.com/google/benchmark.git
  GIT_TAG 344117638c8ff7e239044fd0fa7085839fc03021 # 1.8.3
  FIND_PACKAGE_ARGS 1.7)
FetchContent_Declare(CLI11 SYSTEM
  GIT_REPOSITORY https://github.com/CLIUtils/CLI11.git
  GIT_TAG 6c7b07a878ad834957b98d0f9ce1dbe0cb204fc9 # 2.4.2
  FIND_PACKAGE_ARGS 2.1)
FetchContent_Declare(fmt SYSTEM
  GIT_REPOSITORY https://github.com/fmtlib/fmt.git
  GIT_TAG e69e5f977d458f2650bb346dadf2ad30c5320281 # 10.2.1
  FIND_PACKAGE_ARGS 9)
FetchContent_Declare(nlohmann_json SYSTEM
  GIT_REPOSITORY https://github.com/nlohmann/json.git
  GIT_TAG 9cca280a4d0ccf0c08f47a99aa71d1b0e52f8d03 # 3.11.3
  SOURCE_SUBDIR headers-only # a target of its CMake file could not be exported with tern's
  FIND_PACKAGE_ARGS 3.9 CONFIG)

# Here and not where they are used: tern_eigen and tern_safetensors, which this directory defines, must see them.
FetchContent_MakeAvailable(Eigen3)
if(NOT TARGET Eigen3::Eigen)
  add_library(Eigen3::Eigen INTERFACE IMPORTED)
  target_include_directories(Eigen3::Eigen INTERFACE "${eigen3_SOURCE_DIR}")
endif()
if(TERN_BUILD_TESTS OR TERN_BUILD_EXAMPLES)
  FetchContent_MakeAvailable(nlohmann_json)
  if(NOT TARGET nlohmann_json::nlohmann_json)
    add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED)
    target_include_directories(nlohmann_json::nlohmann_json INTERFACE "${nlohmann_json_SOURCE_DIR}/include")
  endif()
  set_target_properties(tern_safetensors PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
endif()
set(tern_test_examples OFF)
if(TERN_BUILD_TESTS AND (TERN_BUILD_EXAMPLES OR TERN_TEST_EXAMPLES))
  set(tern_test_examples ON)
endif()
if(TERN_BUILD_EXAMPLES OR tern_test_examples)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(utf8proc QUIET IMPORTED_TARGET libutf8proc)
  if(NOT utf8proc_FOUND)
    message(FATAL_ERROR "examples/sentence_similarity.cpp needs utf8proc (Debian: libutf8proc-dev); "
      "-DTERN_BUILD_EXAMPLES=OFF does without examples")
  endif()
endif()
