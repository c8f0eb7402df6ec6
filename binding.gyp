{
  # The addon, for `npm run build:native`. Linux only: elsewhere the store in TypeScript serves, and nothing is built.
  'variables': {
    # Path of liburing.a, or nothing: then the addon has the thread-pool backend alone.
    'liburing_path%': '<!(node native/find-library.cjs liburing.h liburing.a)',
    # The codecs of compressed segments; without one of them the addon refuses segments compressed with it.
    'libzstd_path%': '<!(node native/find-library.cjs zstd.h libzstd.a)',
    'liblz4_path%': '<!(node native/find-library.cjs lz4.h liblz4.a)',
    'engine_sources': [
      'native/compressed_file.cc', 'native/compressed_files.cc', 'native/crc32c.cc', 'native/exit_hook.cc', 'native/file_maps.cc',
      'native/files.cc', 'native/folder.cc', 'native/journal.cc', 'native/journal_format.cc', 'native/journal_replay.cc',
      'native/log_folder.cc', 'native/log_reader.cc', 'native/memory.cc', 'native/read_ahead.cc', 'native/recovery.cc', 'native/result.cc',
      'native/ring.cc', 'native/ring_threads.cc', 'native/ring_uring.cc', 'native/ring_writes_first.cc', 'native/segment_codec.cc',
      'native/segment_compressor.cc', 'native/segment_index.cc', 'native/segment_log.cc', 'native/segment_log_compression.cc',
      'native/segment_log_jobs.cc', 'native/segment_log_journal.cc', 'native/segment_log_prepare.cc', 'native/segment_scan.cc',
      'native/segment_space.cc', 'native/shared_claims.cc', 'native/shared_logs.cc', 'native/shared_store.cc', 'native/sockets.cc',
      'native/space_reserve.cc', 'native/spare_files.cc', 'native/store.cc', 'native/store_logs.cc', 'native/tail.cc', 'native/thread.cc',
      'native/workers.cc', 'native/write_turns.cc',
    ],
  },
  'targets': [
    {
      'target_name': 'haulout',
      'conditions': [
        ['OS=="linux"', {
          'sources': ['native/addon.cc', 'native/js_bridge.cc', 'native/js_lending.cc', 'native/js_sockets.cc', 'native/js_values.cc', '<@(engine_sources)'],
          'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
          'defines': ['NAPI_VERSION=8', 'NAPI_DISABLE_CPP_EXCEPTIONS', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED'],
          'cflags_cc!': ['-std=gnu++17', '-std=gnu++20'],
          'cflags_cc': ['-std=c++20', '-O2', '-Wall', '-Wextra', '-fvisibility=hidden'],
          # Threads of a store whose disk does not answer outlive the environment that loaded it: its code stays.
          'ldflags': ['-Wl,--exclude-libs,ALL', '-Wl,-z,nodelete'],
          'conditions': [
            ['liburing_path!=""', {
              'defines': ['HAULOUT_URING=1'],
              'libraries': ['<(liburing_path)'],
            }],
            ['libzstd_path!=""', {
              'defines': ['HAULOUT_ZSTD=1'],
              'libraries': ['<(libzstd_path)'],
            }],
            ['liblz4_path!=""', {
              'defines': ['HAULOUT_LZ4=1'],
              'libraries': ['<(liblz4_path)'],
            }],
          ],
        }, {
          'type': 'none',
        }],
      ],
    },
    {
      'target_name': 'copy_addon',
      'type': 'none',
      'conditions': [
        ['OS=="linux"', {
          'dependencies': ['haulout'],
          'copies': [{ 'files': ['<(PRODUCT_DIR)/haulout.node'], 'destination': '<(module_path)' }],
        }],
      ],
    },
  ],
}
