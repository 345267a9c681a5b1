# Third-party libraries. All come from Debian/Ubuntu packages except LibTorch (scripts/setup.sh).
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(LibTorch 2.6 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(SQLite3 3.32 REQUIRED)

# mpeft_import(NAME HEADER LIBRARY): packages that ship no CMake configuration.
function(mpeft_import name header library)
  find_path(MPEFT_${library}_INCLUDE ${header} REQUIRED)
  find_library(MPEFT_${library}_LIBRARY ${library} REQUIRED)
  add_library(${name} UNKNOWN IMPORTED)
  set_target_properties(${name} PROPERTIES IMPORTED_LOCATION "${MPEFT_${library}_LIBRARY}"
                        INTERFACE_INCLUDE_DIRECTORIES "${MPEFT_${library}_INCLUDE}")
endfunction()
mpeft_import(sentencepiece sentencepiece_processor.h sentencepiece)
mpeft_import(PCRE2::8 pcre2.h pcre2-8)
mpeft_import(utf8proc utf8proc.h utf8proc)

# Executables find LibTorch where it was found at configure time.
set(CMAKE_BUILD_RPATH ${LibTorch_LIBRARY_DIRS})
