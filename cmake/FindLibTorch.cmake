# Finds LibTorch and imports its libraries as plain targets.
#
# find_package(Torch) of a CUDA wheel fails on a machine without a CUDA toolkit and adds flags to everything, so the
# libraries are imported by hand. Searched, first hit that is new enough wins: LibTorch_ROOT, Torch_DIR and
# CMAKE_PREFIX_PATH (variables, then environment), the torch of Python3_EXECUTABLE and of the python3 on the PATH, the
# cache folder that scripts/setup.sh fills. The choice is kept in the CMake cache.
#
# Result: LibTorch_FOUND, LibTorch_ROOT, LibTorch_VERSION, LibTorch_LIBRARY_DIRS, LibTorch_HAS_CUDA,
# LibTorch_CUDA_MAJOR; targets LibTorch::cpu and, when the libraries are there, LibTorch::cuda.

function(_libtorch_version root result)
  set(version "")
  foreach(header IN ITEMS torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
    if(NOT version AND EXISTS "${root}/include/${header}")
      file(STRINGS "${root}/include/${header}" version REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
    endif()
  endforeach()
  string(REGEX MATCHALL "[0-9]+" parts "${version}")
  list(JOIN parts "." version)
  set(${result} "${version}" PARENT_SCOPE)
endfunction()

set(_candidates "${LibTorch_ROOT}" "$ENV{LibTorch_ROOT}")
foreach(_dir IN ITEMS "${Torch_DIR}" "$ENV{Torch_DIR}")
  if(_dir)
    list(APPEND _candidates "${_dir}/../../..")  # <root>/share/cmake/Torch
  endif()
endforeach()
string(REPLACE ":" ";" _prefixes "$ENV{CMAKE_PREFIX_PATH}")
foreach(_prefix IN LISTS CMAKE_PREFIX_PATH _prefixes)
  list(APPEND _candidates "${_prefix}" "${_prefix}/../..")
endforeach()
if(NOT LibTorch_ROOT)
  foreach(_python IN ITEMS "${Python3_EXECUTABLE}" python3)
    if(_python)
      execute_process(COMMAND "${_python}" -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
                      OUTPUT_VARIABLE _out ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE _status)
      if(_status EQUAL 0)
        list(APPEND _candidates "${_out}")
      endif()
    endif()
  endforeach()
endif()
if(DEFINED ENV{XDG_CACHE_HOME})
  set(_cache "$ENV{XDG_CACHE_HOME}")
else()
  set(_cache "$ENV{HOME}/.cache")
endif()
file(GLOB _cached "${_cache}/mamba-peft/toolchain/lib/python3*/site-packages/torch")
list(APPEND _candidates ${_cached})

set(_found "")
foreach(_candidate IN LISTS _candidates)
  if(NOT _found AND _candidate AND EXISTS "${_candidate}/include/ATen/ATen.h" AND EXISTS "${_candidate}/lib/libtorch_cpu.so")
    _libtorch_version("${_candidate}" _version)
    if(_version VERSION_GREATER_EQUAL "${LibTorch_FIND_VERSION}")
      get_filename_component(_found "${_candidate}" ABSOLUTE)
      set(LibTorch_VERSION "${_version}")
    endif()
  endif()
endforeach()
set(LibTorch_ROOT "${_found}" CACHE PATH "LibTorch: the folder that holds include/ and lib/" FORCE)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS LibTorch_ROOT VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "scripts/setup.sh installs it, or name yours with -DTorch_DIR=LIBTORCH/share/cmake/Torch")

function(_libtorch_import name file)
  if(NOT TARGET LibTorch::${name})
    add_library(LibTorch::${name} SHARED IMPORTED)
    set_target_properties(LibTorch::${name} PROPERTIES
      IMPORTED_LOCATION "${file}"
      INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_ROOT}/include;${LibTorch_ROOT}/include/torch/csrc/api/include")
  endif()
endfunction()

if(LibTorch_FOUND)
  _libtorch_import(c10 "${LibTorch_ROOT}/lib/libc10.so")
  _libtorch_import(torch_cpu "${LibTorch_ROOT}/lib/libtorch_cpu.so")
  add_library(LibTorch::cpu INTERFACE IMPORTED)
  target_link_libraries(LibTorch::cpu INTERFACE LibTorch::torch_cpu LibTorch::c10)
  # The wheel's own NVIDIA libraries (libtorch_cpu.so needs cudart and cupti) lie beside it.
  get_filename_component(_site "${LibTorch_ROOT}" DIRECTORY)
  file(GLOB LibTorch_NVIDIA_LIBRARY_DIRS "${_site}/nvidia/*/lib")
  set(LibTorch_LIBRARY_DIRS "${LibTorch_ROOT}/lib" ${LibTorch_NVIDIA_LIBRARY_DIRS})
  foreach(_dir IN LISTS LibTorch_LIBRARY_DIRS)
    target_link_options(LibTorch::cpu INTERFACE "LINKER:-rpath-link,${_dir}")
  endforeach()

  # libtorch_cuda.so itself needs cuBLAS, cuDNN and the rest; a slim installation (no GPU) has the file and not those.
  set(LibTorch_HAS_CUDA FALSE)
  set(LibTorch_CUDA_MAJOR "")
  file(GLOB _cudnn "${_site}/nvidia/*/lib/libcudnn.so*" "${LibTorch_ROOT}/lib/libcudnn*.so*")
  file(GLOB _cudart "${_site}/nvidia/*/lib/libcudart.so.*" "${LibTorch_ROOT}/lib/libcudart*.so.*")
  if(EXISTS "${LibTorch_ROOT}/lib/libtorch_cuda.so" AND _cudnn AND _cudart)
    list(GET _cudart 0 _cudart)
    string(REGEX REPLACE "^.*\\.so\\.([0-9]+).*$" "\\1" LibTorch_CUDA_MAJOR "${_cudart}")
    set(LibTorch_HAS_CUDA TRUE)
    _libtorch_import(c10_cuda "${LibTorch_ROOT}/lib/libc10_cuda.so")
    add_library(LibTorch::cuda INTERFACE IMPORTED)
    # Nothing refers to a symbol of libtorch_cuda.so: without --no-as-needed the linker drops it and CUDA "is not available".
    target_link_libraries(LibTorch::cuda INTERFACE LibTorch::cpu LibTorch::c10_cuda)
    target_link_options(LibTorch::cuda INTERFACE "LINKER:--no-as-needed,${LibTorch_ROOT}/lib/libtorch_cuda.so,--as-needed")
  endif()
endif()
