# TERN_CUDA=ON: finds nvcc and says for which devices it compiles.
if(NOT DEFINED CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX} AND EXISTS /usr/local/cuda/bin/nvcc)
  set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 75-virtual 80-real 90a-real) # what each step of the code needs
endif()
enable_language(CUDA)
message(STATUS "tern::cuda: nvcc ${CMAKE_CUDA_COMPILER_VERSION}, for ${CMAKE_CUDA_ARCHITECTURES}")

# What every program of this repository that has CUDA sources is built with. The standard is an option because CMake 3.25 does
# not know that nvcc has C++20.
function(tern_cuda_program name)
  target_compile_options(${name} PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;-Xcompiler=-Wall,-Wextra,-Wshadow>")
  target_link_libraries(${name} PRIVATE tern::cuda)
endfunction()
