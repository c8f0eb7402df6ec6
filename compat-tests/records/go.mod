module compat/records

go 1.24
