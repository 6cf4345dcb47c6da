import { describe, expect, it } from 'vitest';
import { parseGuest, parseStorage, readArguments } from './cli-arguments.ts';

describe('the command line', () => {
  it('drops a leading --, and takes paths from where the caller stands', () => {
    const options = readArguments(['--', '--state', 'st', '--guest', '101=g', '--storage', 'bk=/abs/bk'], '/home/me');
    expect(options).toMatchObject({ listen: '127.0.0.1:0', state: '/home/me/st', node: 'pve1', authDelayMs: 3000 });
    expect(options.guests[0]).toMatchObject({ vmid: 101, dir: '/home/me/g', kind: 'lxc', running: true });
    expect(options.cluster).toBeUndefined();
    expect(readArguments(['--state', 'st', '--cluster', 'pve'], '/home/me').cluster).toBe('/home/me/pve');
    expect(options.storages[0]).toMatchObject({ id: 'bk', dir: '/abs/bk', kind: 'dir', active: true });
  });

  it('reads what a guest is, and commands that hold commas', () => {
    const guest = parseGuest('300=/vm,kind=qemu,name=db,stopped,start=echo a,b; true,stop=sleep 1', '/');
    expect(guest).toMatchObject({ vmid: 300, dir: '/vm', kind: 'qemu', name: 'db', running: false });
    expect(guest.commands).toEqual({ start: 'echo a,b; true', stop: 'sleep 1' });
  });

  it('makes many guests of a range', () => {
    const { guests } = readArguments(['--state', 'st', '--guest', '1000-1002=/many,stopped'], '/');
    expect(guests.map(({ vmid, dir, running }) => [vmid, dir, running])).toEqual([
      [1000, '/many', false],
      [1001, '/many', false],
      [1002, '/many', false],
    ]);
    expect(() => readArguments(['--state', 'st', '--guest', '1002-1000=/many'], '/')).toThrow('comes before');
  });

  it('reads what a storage is', () => {
    expect(parseStorage('pbs=/p,kind=pbs,prune=keep-last=3,keep-daily=2', '/')).toMatchObject({
      kind: 'pbs',
      prune: 'keep-last=3,keep-daily=2',
    });
    expect(parseStorage('usb=/u,inactive', '/')).toMatchObject({ active: false });
  });

  it('says what is wrong', () => {
    expect(() => readArguments([], '/')).toThrow('--state DIR is missing');
    expect(() => parseGuest('abc=/x', '/')).toThrow('no VMID');
    expect(() => parseGuest('101', '/')).toThrow('--guest 101=DIR');
    expect(() => readArguments(['--state', 'x', '--delays', 'some'], '/')).toThrow('"recorded" or "none"');
  });
});
