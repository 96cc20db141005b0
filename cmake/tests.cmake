# Registers tests with ctest. Every case is a test, <concept>.<case>, in a process of its own. A case that
# exits with 77 was skipped. Only ctest -C stress runs the tests with the label stress.

# What the tests know of this build.
set(environment
    CC=${CMAKE_C_COMPILER} CXX=${CMAKE_CXX_COMPILER} GO=${GO_EXECUTABLE} CMAKE=${CMAKE_COMMAND}
    PYTHREAD_SOURCE_DIR=${PROJECT_SOURCE_DIR} PYTHREAD_BINARY_DIR=${PROJECT_BINARY_DIR}
    PYTHREAD_LIBRARY=${PYTHREAD_LIBRARY} PYTHREAD_PYTHON=${PYTHREAD_PYTHON}
    PYTHREAD_STRESS_SECONDS=${PYTHREAD_STRESS_SECONDS})

set(run ${CMAKE_CROSSCOMPILING_EMULATOR})
set(runner "") # the program that runs the tests, by its name in expected_failures.txt
set(slower 1)
if(CMAKE_CROSSCOMPILING_EMULATOR)
    set(slower 10)
    list(GET CMAKE_CROSSCOMPILING_EMULATOR 0 emulator)
    get_filename_component(emulator "${emulator}" NAME)
    string(REGEX MATCH "^(qemu|wine)" runner "${emulator}")
    # The folder for Wine's files, and the folder where Wine finds the library.
    list(APPEND environment WINEDEBUG=-all WINEPREFIX=${PROJECT_BINARY_DIR}/wine
         WINEPATH=Z:${PROJECT_BINARY_DIR})
endif()
if(WIN32 AND run)
    # By default each thread has an OS thread of its own, which takes Wine 5 ms and more.
    list(APPEND environment PYTHREAD_REUSE=always)
    set(run sh ${PROJECT_SOURCE_DIR}/ctest/wine.sh ${run})
endif()
if(NOT PYTHREAD_SANITIZE STREQUAL "none")
    set(slower 5)
    # These switch off what AddressSanitizer does itself: it gives each thread a signal stack and frees the
    # one that it finds at the end; it handles faults, which the tests make on purpose; and it reads the
    # words before some blocks of thread-local variables as a header of an old glibc.
    set(asan_options use_sigaltstack=0 handle_segv=0 handle_sigbus=0 handle_sigfpe=0
                     intercept_tls_get_addr=0)
    list(JOIN asan_options : asan_options)
    list(APPEND environment ASAN_OPTIONS=${asan_options})
endif()

# The command of a skipped case, to which the reason is added.
set(skipped sh -c "echo \"skipped: $1\" && exit 77" skipped)

# Reads the expected failures of this build into a list of regular expressions for the names of tests,
# and a list of the reasons. A line whose case does not exist is an error.
set(expectations ${PROJECT_SOURCE_DIR}/ctest/expected_failures.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${expectations})
file(STRINGS ${expectations} lines REGEX "^[^#]")
foreach(line IN LISTS lines)
    if(NOT line MATCHES "^(library|host|qemu|wine) +([a-z_]+)\\.([A-Za-z0-9_]+|\\*) +(.+)$")
        message(FATAL_ERROR "${expectations}: this line is not WHERE CASE REASON: ${line}")
    endif()
    set(where ${CMAKE_MATCH_1})
    set(concept ${CMAKE_MATCH_2})
    string(REPLACE * .* case ${CMAKE_MATCH_3})
    string(REPLACE ";" "," reason "${CMAKE_MATCH_4}") # an element of a list
    file(GLOB source ${PROJECT_SOURCE_DIR}/ctest/${concept}_test.*)
    if(source)
        file(STRINGS ${source} source REGEX "^(TEST\\(|test_)${case}(\\)$|\\(\\) {$)")
    endif()
    if(NOT source)
        message(FATAL_ERROR "${expectations}: there is no such case: ${line}")
    endif()
    if(where STREQUAL "host")
        list(APPEND expected_tests "^host_${concept}\\.${case}$")
        list(APPEND expected_reasons "${reason}")
    elseif(where STREQUAL "library" OR where STREQUAL runner)
        list(APPEND expected_tests "^${concept}\\.${case}$")
        list(APPEND expected_reasons "${reason}")
    endif()
endforeach()

# Changes the variable command, if the test is an expected failure, so that it runs as one.
macro(pythread_expect test command)
    foreach(pattern reason IN ZIP_LISTS expected_tests expected_reasons)
        if(NOT ${test} MATCHES "${pattern}")
            continue()
        elseif(reason MATCHES "^left out: (.*)")
            set(${command} ${skipped} "${CMAKE_MATCH_1}")
        else()
            set(${command} sh ${PROJECT_SOURCE_DIR}/ctest/expect_failure.sh "${reason}"
                ${${command}})
        endif()
        break()
    endforeach()
endmacro()

# Registers each case as COMMAND <case>. A case that takes longer than TIMEOUT seconds fails. The
# variable <concept>_properties has further properties of the tests.
function(pythread_add_cases concept)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "CASES;COMMAND;LABELS")
    if(NOT arg_CASES)
        message(FATAL_ERROR "${concept} has no test cases")
    endif()
    math(EXPR timeout "${arg_TIMEOUT} * ${slower}")
    foreach(case IN LISTS arg_CASES)
        set(test ${concept}.${case})
        set(command ${arg_COMMAND} ${case})
        pythread_expect(${test} command)
        if(stress IN_LIST arg_LABELS)
            add_test(NAME ${test} COMMAND ${command} CONFIGURATIONS stress)
        else()
            add_test(NAME ${test} COMMAND ${command})
        endif()
        set_tests_properties(
            ${test} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${timeout} LABELS "${arg_LABELS}"
                               ENVIRONMENT "${environment}" ${${concept}_properties})
    endforeach()
endfunction()

# Returns the cases of the TEST(case) lines in <concept>_test.c.
function(pythread_find_cases concept result)
    set(source ${CMAKE_CURRENT_SOURCE_DIR}/${concept}_test.c)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
    file(STRINGS ${source} cases REGEX "^TEST\\(")
    list(TRANSFORM cases REPLACE "^TEST\\(([A-Za-z0-9_]+)\\).*" "\\1")
    set(${result} ${cases} PARENT_SCOPE)
endfunction()

# Builds <concept>_test.c and registers its cases. The program RUN runs them, if it is given.
function(pythread_add_tests concept)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "LIBRARIES;LABELS;RUN")
    if(arg_RUN)
        set(run ${arg_RUN})
    endif()
    set(program ${concept}_test)
    set(source ${program}.c)
    pythread_find_cases(${concept} cases)

    add_executable(${program} ${source})
    target_link_libraries(${program} PRIVATE pythread::pythread Threads::Threads ${arg_LIBRARIES})
    if(WIN32) # pthreads of the tests, and process.h
        target_link_options(${program} PRIVATE -static)
        target_link_libraries(${program} PRIVATE psapi)
    endif()
    pythread_add_cases(${concept} CASES ${cases} COMMAND ${run} $<TARGET_FILE:${program}>
                       TIMEOUT ${arg_TIMEOUT} LABELS ${arg_LABELS})
endfunction()

# Builds <concept>_test.c with another LIBRARY, and registers its cases as <variant>_<concept>.<case>,
# those of CASES, or all except those of WITHOUT.
function(pythread_add_variant variant concept)
    cmake_parse_arguments(PARSE_ARGV 2 arg "" "LIBRARY" "CASES;WITHOUT")
    set(name ${variant}_${concept})
    pythread_find_cases(${concept} cases)
    if(arg_CASES)
        set(cases ${arg_CASES})
    endif()
    if(arg_WITHOUT)
        list(REMOVE_ITEM cases ${arg_WITHOUT})
    endif()
    add_executable(${name} ${concept}_test.c)
    target_link_libraries(${name} PRIVATE ${arg_LIBRARY} Threads::Threads)
    pythread_add_cases(${name} CASES ${cases} TIMEOUT 60 COMMAND $<TARGET_FILE:${name}>)
endfunction()

# Builds <concept>_test.c as a shared object, and registers its cases as host_<concept>.<case>. HOST, a
# program that has the functions of the library, runs them.
function(pythread_add_hosted_tests concept)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "HOST;TIMEOUT" "")
    pythread_find_cases(${concept} cases)
    add_library(host_${concept} MODULE ${concept}_test.c)
    target_include_directories(host_${concept} PRIVATE ${PROJECT_SOURCE_DIR}/include)
    target_link_libraries(host_${concept} PRIVATE Threads::Threads)
    pythread_add_cases(host_${concept} CASES ${cases} TIMEOUT ${arg_TIMEOUT}
                       COMMAND ${arg_HOST} $<TARGET_FILE:host_${concept}>)
endfunction()

# Registers the cases that <concept>_test.sh --list prints. Further arguments go to each case.
function(pythread_add_script_tests concept)
    set(command sh ${CMAKE_CURRENT_SOURCE_DIR}/${concept}_test.sh)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${concept}_test.sh)
    execute_process(COMMAND ${command} --list OUTPUT_VARIABLE cases COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCHALL "[^\n]+" cases "${cases}")
    pythread_add_cases(${concept} CASES ${cases} COMMAND ${command} ${ARGN} TIMEOUT 300)
endfunction()

# Each run of ctest ends with the skipped cases and their reasons.
file(WRITE ${PROJECT_BINARY_DIR}/CTestCustom.cmake
     "set(CTEST_CUSTOM_POST_TEST [[sh \"${PROJECT_SOURCE_DIR}/ctest/skipped.sh\" "
     "\"${PROJECT_BINARY_DIR}\"]])\n")
