import { expect, it } from 'vitest';
import { hookScript, isOurHook } from './gate-kind.ts';

it.each([
  ['script: /usr/libexec/felhom/felhom-vzdump-hook\n', true],
  ['# script: /usr/libexec/felhom/felhom-vzdump-hook\n', false],
  ['tmpdir: /tmp\nscript: /opt/other\n', false],
  ['script: /opt/other\nscript:/a b/felhom-vzdump-hook  \n', true],
  ['script: /usr/libexec/felhom/vzdump-hook\n', true],
  ['', false],
])('reads %j', (conf, ours) => {
  expect(isOurHook(hookScript(conf), '/usr/libexec/felhom/vzdump-hook')).toBe(ours);
});
