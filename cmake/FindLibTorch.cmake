# Finds LibTorch and imports its libraries as plain targets.
#
# find_package(Torch) of a CUDA wheel fails on a machine without a CUDA toolkit and adds flags to everything, so the
# libraries are imported by hand. Searched, first hit wins: Torch_DIR, CMAKE_PREFIX_PATH, the torch of Python3_EXECUTABLE
# or of the python3 on the PATH.
#
# Result: LibTorch_FOUND, LibTorch_ROOT, LibTorch_VERSION, LibTorch_HAS_CUDA; targets LibTorch::cpu and, when the
# libraries are there, LibTorch::cuda.
set(_candidates "")
if(Torch_DIR)
  list(APPEND _candidates "${Torch_DIR}/../../..")  # <root>/share/cmake/Torch
endif()
foreach(_p IN LISTS CMAKE_PREFIX_PATH)
  list(APPEND _candidates "${_p}" "${_p}/../..")
endforeach()
foreach(_python IN ITEMS "${Python3_EXECUTABLE}" python3)
  if(_python)
    execute_process(COMMAND "${_python}" -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
                    OUTPUT_VARIABLE _out ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE _rc)
    if(_rc EQUAL 0 AND _out)
      list(APPEND _candidates "${_out}")
    endif()
  endif()
endforeach()

set(LibTorch_ROOT "")
foreach(_c IN LISTS _candidates)
  if(NOT LibTorch_ROOT AND EXISTS "${_c}/include/ATen/ATen.h" AND EXISTS "${_c}/lib/libtorch_cpu.so")
    get_filename_component(LibTorch_ROOT "${_c}" ABSOLUTE)
  endif()
endforeach()

if(LibTorch_ROOT)
  file(STRINGS "${LibTorch_ROOT}/include/torch/headeronly/version.h" _version REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
  if(NOT _version)
    file(STRINGS "${LibTorch_ROOT}/include/torch/csrc/api/include/torch/version.h" _version REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
  endif()
  string(REGEX MATCHALL "[0-9]+" _parts "${_version}")
  list(JOIN _parts "." LibTorch_VERSION)
endif()

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
  foreach(_d IN LISTS LibTorch_LIBRARY_DIRS)
    target_link_options(LibTorch::cpu INTERFACE "LINKER:-rpath-link,${_d}")
  endforeach()
  set(LibTorch_HAS_CUDA FALSE)
  # libtorch_cuda.so itself needs cuBLAS and the rest; a slim installation (no GPU) has the file and not those.
  file(GLOB _cublas "${_site}/nvidia/*/lib/libcublas.so*" "${LibTorch_ROOT}/lib/libcublas*.so*" "/usr/local/cuda/lib64/libcublas.so*")
  if(EXISTS "${LibTorch_ROOT}/lib/libtorch_cuda.so" AND _cublas)
    set(LibTorch_HAS_CUDA TRUE)
    _libtorch_import(c10_cuda "${LibTorch_ROOT}/lib/libc10_cuda.so")
    _libtorch_import(torch_cuda "${LibTorch_ROOT}/lib/libtorch_cuda.so")
    add_library(LibTorch::cuda INTERFACE IMPORTED)
    # Nothing refers to a symbol of libtorch_cuda.so: without --no-as-needed the linker drops it and CUDA "is not available".
    target_link_libraries(LibTorch::cuda INTERFACE LibTorch::cpu LibTorch::c10_cuda)
    target_link_options(LibTorch::cuda INTERFACE "LINKER:--no-as-needed,${LibTorch_ROOT}/lib/libtorch_cuda.so,--as-needed")
  endif()
endif()
