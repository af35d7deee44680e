-- Health of an Agent for Argo CD: key resource.customizations.health.holdfast.dev_Agent of ConfigMap argocd-cm.
-- Base functions only: Argo CD's Lua has neither `string` nor `os` in it.

local function condition(kind)
  for _, found in ipairs(obj.status.conditions or {}) do
    if found.type == kind then
      return found
    end
  end
end

local function is_true(found)
  return found ~= nil and found.status == "True"
end

local function health(status, found)
  local message = found.message or ""
  if found.reason ~= nil and found.reason ~= "" then
    message = found.reason .. ": " .. message
  end
  return {status = status, message = message}
end

-- What is said of an earlier generation says nothing of this one.
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "The operator has not looked at this generation yet"}
end

local ready = condition("Ready")
local stalled = condition("Stalled")
if is_true(stalled) then
  return health("Degraded", stalled)
end
if ready == nil then
  return {status = "Progressing", message = "The operator has not said yet whether the Agent is ready"}
end
-- Reconciling may say no more than that it looks again; Ready always says why.
if is_true(condition("Reconciling")) or ready.status == "Unknown" then
  return health("Progressing", ready)
end
if not is_true(ready) then
  return health("Degraded", ready)
end
if ready.reason == "Suspended" then
  return health("Suspended", ready)
end
return health("Healthy", ready)
