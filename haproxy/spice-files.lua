-- SPDX-License-Identifier: GPL-2.0-or-later
--
-- The files of a page, for HAProxy to serve: those of the folder SPICE_HTML5,
-- read when HAProxy starts, before its chroot. A request finds one of these
-- or nothing: no path reaches the file system.

local types = {
    css = 'text/css; charset=utf-8',
    html = 'text/html; charset=utf-8',
    ico = 'image/x-icon',
    js = 'text/javascript; charset=utf-8',
    png = 'image/png',
    svg = 'image/svg+xml',
}
local folder = os.getenv('SPICE_HTML5')
local files = {}
-- they are the same until HAProxy is started again
local version = string.format('"%x"', os.time())

local function read_all()
    local list = assert(io.popen("find -L '" .. folder .. "' -type f"))
    for path in list:lines() do
        local kind = types[path:match('%.(%w+)$')]
        if kind then
            local file = assert(io.open(path, 'rb'))
            files[path:sub(#folder + 1)] = { kind = kind,
                                             body = file:read('a') }
            file:close()
        end
    end
    assert(list:close(), folder .. ' cannot be read')
    assert(next(files), folder .. ' has no files of a page')
end

local function answer(applet, status, headers, body)
    applet:set_status(status)
    for name, value in pairs(headers) do
        applet:add_header(name, value)
    end
    applet:add_header('content-length', #body)
    applet:start_response()
    if applet.method ~= 'HEAD' then
        applet:send(body)
    end
end

read_all()
core.register_service('spice_files', 'http', function(applet)
    local file = files[applet.path]
    local known = applet.headers['if-none-match']

    if applet.method ~= 'GET' and applet.method ~= 'HEAD' then
        answer(applet, 405, { allow = 'GET, HEAD' }, '')
    elseif not file then
        answer(applet, 404, { ['content-type'] = 'text/plain' },
               'There is no such page here.\n')
    elseif known and known[0] == version then
        applet:set_status(304)
        applet:add_header('etag', version)
        applet:start_response()
    else
        -- a browser asks each time whether it has the right ones
        answer(applet, 200, { ['content-type'] = file.kind, etag = version,
                              ['cache-control'] = 'no-cache' }, file.body)
    end
end)
