import { describe, expect, it } from 'vitest';
import { reasonToWait } from './due-stacks.ts';
import { isWithin, parseWindow } from './window.ts';

const at = (time: string): Date => new Date(`2026-11-20T${time}:00`);

describe('a window', () => {
  it.each([
    ['01:00-05:00', ['01:00', '04:59'], ['00:59', '05:00', '13:00']],
    ['23:00-02:00', ['23:00', '23:59', '00:00', '01:59'], ['22:59', '02:00', '12:00']],
  ])('%s', (text, inside, outside) => {
    const window = parseWindow(text);
    if (window === null) throw new Error('it is a window');
    expect(inside.filter((time) => !isWithin(window, at(time)))).toEqual([]);
    expect(outside.filter((time) => isWithin(window, at(time)))).toEqual([]);
  });

  it.each(['', '1-5', '24:00-05:00', '01:60-02:00', '01:00'])('is not %j', (text) => {
    expect(parseWindow(text)).toBeNull();
  });
});

describe('a timer', () => {
  const policy = { window: null, probe: null, rollbackAfter: 1 };

  it('upgrades what is auto, inside its window', () => {
    const night = { ...policy, policy: 'auto', window: '01:00-05:00' } as const;
    expect(reasonToWait(night, true, at('03:00'))).toBeNull();
    expect(reasonToWait(night, true, at('12:00'))).toContain('window');
    expect(reasonToWait({ ...policy, policy: 'auto' }, true, at('12:00'))).toBeNull();
  });

  it('leaves what is ask to a person, who may at any time, and what is never to nobody', () => {
    expect(reasonToWait({ ...policy, policy: 'ask' }, true, at('03:00'))).toContain('a person');
    expect(reasonToWait({ ...policy, policy: 'ask', window: '01:00-05:00' }, false, at('12:00'))).toBeNull();
    expect(reasonToWait({ ...policy, policy: 'never' }, false, at('03:00'))).toContain('never');
  });
});
