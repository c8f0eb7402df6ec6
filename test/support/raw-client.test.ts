import { once } from 'node:events'
import net from 'node:net'
import t from 'tap'
import { FrameDecoder } from '../../src/protocol/frame-decoder.js'
import { decodeRequestPrefix, encodeResponseFrame } from '../../src/protocol/request-header.js'
import { heartbeat } from '../../src/protocol/schemas/index.js'
import { connect, ConnectionEnded } from './raw-client.js'

/** Answers heartbeats with their correlation id as the error code; collects two before it answers, in the order of `order`. */
async function server (order: (ids: number[]) => number[]): Promise<{ port: number, close: () => void }> {
  const listening = net.createServer((socket) => {
    const decoder = new FrameDecoder(1000)
    let ids: number[] = []
    socket.on('data', (chunk) => {
      for (const frame of decoder.push(chunk)) {
        ids.push(decodeRequestPrefix(frame).correlationId)
        if (ids.length < 2) continue
        for (const id of order(ids)) socket.write(Buffer.concat(encodeResponseFrame(heartbeat, 4, id, { errorCode: id })))
        ids = []
      }
    })
    socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await once(listening, 'listening')
  return { port: (listening.address() as net.AddressInfo).port, close: () => listening.close() }
}

const request = { groupId: 'g', generationId: 1, memberId: 'm' }

t.test('several requests in flight, answered in order', async (t) => {
  const { port, close } = await server((ids) => ids)
  const client = await connect(port)
  const answers = await Promise.all([client.send(heartbeat, 4, request), client.send(heartbeat, 4, request)])
  t.same(answers, [{ throttleTimeMs: 0, errorCode: 0 }, { throttleTimeMs: 0, errorCode: 1 }])
  const lost = client.send(heartbeat, 4, request)
  client.close()
  await t.rejects(lost, new ConnectionEnded('the connection is closed'))
  await t.rejects(client.send(heartbeat, 4, request), { name: 'ConnectionEnded' })
  await client.closed
  close()
})

t.test('a response out of order fails the client', async (t) => {
  const { port, close } = await server((ids) => ids.reverse())
  const client = await connect(port)
  const answers = await Promise.allSettled([client.send(heartbeat, 4, request), client.send(heartbeat, 4, request)])
  t.match(answers, [{ status: 'rejected', reason: /answers in order/ }, { status: 'rejected' }])
  close()
})
