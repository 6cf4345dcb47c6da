import type { Plugin } from 'rolldown';

/** One line of a dependency that loads a part of Node at once, and what stands there instead. */
interface Replacement {
  module: RegExp;
  line: string;
  instead: string;
}

const replacements: readonly Replacement[] = [
  {
    // Only for executable subcommands, which we have none of; so are both uses of fs.
    module: /\/commander\/lib\/command\.js$/,
    line: "const childProcess = require('node:child_process');",
    instead: "const childProcess = { spawn: (...args) => require('node:child_process').spawn(...args) };",
  },
  {
    module: /\/commander\/lib\/command\.js$/,
    line: "const fs = require('node:fs');",
    instead:
      "const fs = { existsSync: (path) => require('node:fs').existsSync(path), realpathSync: (path) => require('node:fs').realpathSync(path) };",
  },
  {
    // Only when a file is written: `status` reads.
    module: /\/write-file-atomic\/lib\/index\.js$/,
    line: "const crypto = require('node:crypto')",
    instead: "const crypto = { createHash: (name) => require('node:crypto').createHash(name) }",
  },
  {
    // Part of a temporary file's name; we have no worker threads.
    module: /\/write-file-atomic\/lib\/index\.js$/,
    line: "const workerThreads = require('worker_threads')",
    instead: 'const workerThreads = { threadId: 0 }',
  },
  // Requiring `process` reads all it exports, and so opens the three standard streams. The global one does not.
  {
    module: /\/commander\/lib\/command\.js$/,
    line: "const process = require('node:process');",
    instead: 'const process = globalThis.process;',
  },
  ...['log', 'compose/composer', 'parse/parser'].map(
    (name): Replacement => ({
      module: new RegExp(`/yaml/dist/${name}\\.js$`),
      line: "var node_process = require('process');",
      instead: 'var node_process = globalThis.process;',
    }),
  ),
];

/**
 * Parts of Node that take milliseconds to load are loaded when a dependency first uses them: every start would pay
 * for them otherwise. A line that is no longer there fails the build, so that a new version is looked at.
 */
export function laterBuiltins(): Plugin {
  return {
    name: 'later-builtins',
    transform: {
      filter: { id: replacements.map(({ module }) => module) },
      // `map: null`: lines stay where they are, so the source map stays right.
      handler: (code, id) => ({ code: replaceLines(code, id), map: null }),
    },
  };
}

function replaceLines(code: string, id: string): string {
  return replacements
    .filter(({ module }) => module.test(id))
    .reduce((text, { line, instead }) => {
      if (!text.includes(line)) throw new Error(`${id} has changed: it no longer says: ${line}`);
      return text.replace(line, () => instead);
    }, code);
}
