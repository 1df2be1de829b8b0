-- Posts prepared bodies in turn, and prints what wrk counted as one line of JSON.
-- wrk ... -s post.lua URL -- FOLDER COUNT CONTENT_TYPE [ACCEPT]; the bodies are FOLDER/0 to FOLDER/(COUNT - 1).

local requests = {}
local turn = 0

function init(args)
  local folder, count = args[1], tonumber(args[2])
  local headers = {["Content-Type"] = args[3], ["Accept"] = args[4]}
  for index = 0, count - 1 do
    local file = assert(io.open(folder .. "/" .. index, "rb"))
    requests[index] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
  requests.count = count
end

function request()
  turn = (turn + 1) % requests.count
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "errors": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
