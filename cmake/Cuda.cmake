# CUDA: found in a toolkit (nvcc on the PATH, CUDACXX, /usr/local/cuda) or in the pip wheels beside LibTorch; cleanly off
# when either nvcc or LibTorch's CUDA libraries are absent. Result: MPEFT_HAS_CUDA.
set(MPEFT_HAS_CUDA FALSE)
if(MPEFT_CUDA STREQUAL "OFF")
  return()
endif()

get_filename_component(_site "${LibTorch_ROOT}" DIRECTORY)
file(GLOB _wheel_nvcc "${_site}/nvidia/cu*/bin/nvcc" "${_site}/nvidia/cuda_nvcc/bin/nvcc")
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(MPEFT_NVCC nvcc HINTS /usr/local/cuda/bin ${_wheel_nvcc})
  if(NOT MPEFT_NVCC AND _wheel_nvcc)
    list(GET _wheel_nvcc 0 MPEFT_NVCC)
  endif()
  if(MPEFT_NVCC)
    set(CMAKE_CUDA_COMPILER "${MPEFT_NVCC}")
  endif()
endif()

if(NOT LibTorch_HAS_CUDA OR (NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX}))
  if(MPEFT_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MPEFT_CUDA=ON needs nvcc 12.4+ and a CUDA LibTorch (LibTorch with CUDA: ${LibTorch_HAS_CUDA}, "
                        "nvcc: '${CMAKE_CUDA_COMPILER}'). `MPEFT_CUDA=ON scripts/setup.sh` installs both.")
  endif()
  message(STATUS "CUDA: off (LibTorch with CUDA: ${LibTorch_HAS_CUDA}, nvcc: ${CMAKE_CUDA_COMPILER})")
  return()
endif()

# One runtime in the process: the shared libcudart that LibTorch uses, not CMake's static default.
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "80-real;90-real;120-real;120-virtual" CACHE STRING "CUDA architectures")
endif()
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)  # Debian 12's CMake 3.25 does not know CUDA20
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-fPIC>)
set(MPEFT_HAS_CUDA TRUE)
message(STATUS "CUDA: ${CMAKE_CUDA_COMPILER_VERSION} (${CMAKE_CUDA_COMPILER}), architectures ${CMAKE_CUDA_ARCHITECTURES}")
