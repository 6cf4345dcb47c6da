import type { StackEngine } from 'felhom-controller/engine/stack-engine.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** An engine under the contract of upgrades. `image`: one that is there, by a name of its own. */
export interface StackSubject {
  engine: StackEngine;
  image: string;
  /** A running container of that image; answers its id. */
  run(name: string): Promise<string>;
  /** Prefix of every name that the contract makes up. */
  prefix: string;
  settle<T>(work: Promise<T>): Promise<T>;
  close(): Promise<void>;
}

const enough = { boundMs: 30_000 };

/** What every StackEngine keeps, the one in memory like the real one. */
export function stackEngineContract(title: string, open: () => Promise<StackSubject>): void {
  describe(title, () => {
    let subject: StackSubject;
    let engine: StackEngine;
    beforeAll(async () => {
      subject = await open();
      engine = subject.engine;
    });
    afterAll(async () => await subject.close());
    const settle = async <T>(work: Promise<T>): Promise<T> => await subject.settle(work);

    it('knows an image by its name and by its id, and calls one that is not there a value', async () => {
      const found = await settle(engine.image(subject.image));
      expect(found?.id).toMatch(/^sha256:/);
      expect((await settle(engine.image(found?.id ?? '')))?.id).toBe(found?.id);
      expect(await settle(engine.image(`${subject.prefix}none:1`))).toBeNull();
    });

    it('gives an image another name', async () => {
      const found = await settle(engine.image(subject.image));
      await settle(engine.tag(found?.id ?? '', `${subject.prefix}named:2`));
      expect((await settle(engine.image(`${subject.prefix}named:2`)))?.id).toBe(found?.id);
    });

    it('takes a name away, never the image that has another one, and calls a second time fine', async () => {
      const found = await settle(engine.image(subject.image));
      const names = [`${subject.prefix}kept:one`, `${subject.prefix}kept:two`];
      for (const name of names) await settle(engine.tag(found?.id ?? '', name));
      expect(await settle(engine.namesOf(`${subject.prefix}kept`))).toEqual(names);
      await settle(engine.untag(names[0] ?? ''));
      await settle(engine.untag(names[0] ?? ''));
      expect(await settle(engine.namesOf(`${subject.prefix}kept`))).toEqual(names.slice(1));
      await settle(engine.untag(names[1] ?? ''));
      expect((await settle(engine.image(subject.image)))?.id).toBe(found?.id);
    });

    it('changes a restart policy, of a container that runs too, and back', async () => {
      const id = await subject.run('policy');
      const policyOf = async (): Promise<string> => {
        const [state] = await settle(engine.inspect([id]));
        return `${state?.restartPolicy} ${state?.restartRetries}`;
      };
      expect(await settle(engine.setRestartPolicy(id, { name: 'on-failure', retries: 4 }))).toBe('updated');
      expect(await policyOf()).toBe('on-failure 4');
      expect(await settle(engine.setRestartPolicy(id, { name: 'no', retries: 0 }))).toBe('updated');
      expect(await policyOf()).toBe('no 0');
      expect(await settle(engine.setRestartPolicy('0'.repeat(64), { name: 'no', retries: 0 }))).toBe('gone');
    });

    it('holds an image by a container that never runs; twice is once', async () => {
      const found = await settle(engine.image(subject.image));
      const pin = { name: `${subject.prefix}pin`, imageId: found?.id ?? '', labels: { 'felhom.pin': 'contract' } };
      await settle(engine.pinImage(pin));
      await settle(engine.pinImage(pin));
      const pins = (await settle(engine.list())).filter(({ name }) => name === pin.name);
      expect(pins).toMatchObject([{ status: 'created', imageId: found?.id, labels: { 'felhom.pin': 'contract' } }]);
    });

    it('removes a container that runs, and calls a second time gone', async () => {
      const id = await subject.run('removed');
      expect(await settle(engine.remove(id, enough))).toBe('removed');
      expect(await settle(engine.inspect([id]))).toEqual([null]);
      expect(await settle(engine.remove(id, enough))).toBe('gone');
    });
  });
}
