# Looks for the CUDA toolkit, and compiles kernels by calling nvcc itself: programs stay C, linked as C. Sets
# VS2_CUDA_FOUND.
set(VS2_CUDA_FOUND FALSE)
if(NOT VS2_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "VS2_CUDA=${VS2_CUDA}: it is AUTO, ON or OFF")
elseif(VS2_CUDA STREQUAL "OFF")
  message(STATUS "CUDA backend: left out (VS2_CUDA=OFF)")
elseif(VS2_SANITIZE)
  message(STATUS "CUDA backend: left out (its libraries do not run under sanitizers)")
else()
  find_package(CUDAToolkit 12.0 QUIET)
  if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE AND TARGET CUDA::cublasLt)
    set(VS2_CUDA_FOUND TRUE)
    set(VS2_NVCC_VERSION ${CUDAToolkit_VERSION} CACHE INTERNAL "For scripts/cuda_resources.sh")
    string(REPLACE ";" ", sm_" architectures "${VS2_CUDA_ARCHITECTURES}")
    message(STATUS "CUDA backend: nvcc ${CUDAToolkit_VERSION}, for sm_${architectures}")
  elseif(VS2_CUDA STREQUAL "ON")
    message(FATAL_ERROR "VS2_CUDA=ON, but there is no CUDA toolkit with nvcc and cuBLASLt (12.0 or later)")
  else()
    message(STATUS "CUDA backend: left out (no CUDA toolkit of 12.0 or later found)")
  endif()
endif()

# cuDNN's header is all that the build needs: the library is loaded when a device opens. Sets VS2_CUDNN_FOUND.
set(VS2_CUDNN_FOUND FALSE)
if(NOT VS2_CUDNN MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "VS2_CUDNN=${VS2_CUDNN}: it is AUTO, ON or OFF")
elseif(VS2_CUDA_FOUND AND NOT VS2_CUDNN STREQUAL "OFF")
  find_path(VS2_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(VS2_CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDAToolkit_LIBRARY_DIR})
  if(VS2_CUDNN_INCLUDE AND EXISTS ${VS2_CUDNN_INCLUDE}/cudnn_graph.h)
    # The attention node with lengths of sequences: 9.15 or later
    file(STRINGS ${VS2_CUDNN_INCLUDE}/cudnn_graph.h node REGEX "CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC")
  endif()
  if(node)
    set(VS2_CUDNN_FOUND TRUE)
    message(STATUS "cuDNN: attention where it fits (${VS2_CUDNN_INCLUDE}/cudnn.h)")
  elseif(VS2_CUDNN STREQUAL "ON")
    message(FATAL_ERROR "VS2_CUDNN=ON, but there is no header of cuDNN 9.15 or later")
  else()
    message(STATUS "cuDNN: left out (no header of 9.15 or later found)")
  endif()
endif()

# The nvcc options of all kernels: no C++ library is linked, and ptxas tells what each kernel takes. 177: static
# functions of headers that a file does not use.
set(VS2_NVCC_OPTIONS -std=c++17 -O3 -I${CMAKE_SOURCE_DIR} -diag-suppress 177 -Xptxas=-v
  -Xcompiler=-fPIC,-fno-threadsafe-statics,-Wall,-Wextra,-Wno-unused-function)
if(VS2_WERROR)
  list(APPEND VS2_NVCC_OPTIONS -Werror all-warnings)
endif()
if(VS2_CUDNN_FOUND)
  list(APPEND VS2_NVCC_OPTIONS -DVS2_CUDNN)
endif()
foreach(architecture ${VS2_CUDA_ARCHITECTURES})
  list(APPEND VS2_NVCC_OPTIONS -gencode arch=compute_${architecture},code=sm_${architecture})
endforeach()
list(GET VS2_CUDA_ARCHITECTURES -1 architecture)
list(APPEND VS2_NVCC_OPTIONS -gencode arch=compute_${architecture},code=compute_${architecture})

# Compiles each source to NAME.cu.o, and what ptxas told to NAME.cu.o.log. The objects' names go to ${result}.
function(vs2_cuda_objects result)
  set(objects)
  foreach(source ${ARGN})
    get_filename_component(name ${source} NAME)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.o)
    add_custom_command(OUTPUT ${object}
      COMMAND bash ${CMAKE_SOURCE_DIR}/cmake/nvcc.sh ${object}.log
        ${CMAKE_C_COMPILER_LAUNCHER} ${CUDAToolkit_NVCC_EXECUTABLE} ${VS2_NVCC_OPTIONS} -MD -MF ${object}.d
        -c ${source} -o ${object}
      DEPENDS ${source} DEPFILE ${object}.d COMMENT "Compiling ${name} with nvcc" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set(${result} ${objects} PARENT_SCOPE)
endfunction()
